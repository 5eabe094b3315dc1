// A sound file of the listener's, as samples that the model goes on from.

const MOST_BYTES = 200e6;
const MOST_SECONDS = 10; // the model listens to them before it plays

/**
 * The last seconds of a file: decoded and resampled by the browser, its channels mixed.
 * @param card the model's: its rate and limits.
 * @returns Float32Array, -1 to 1. Throws an Error with words for the listener.
 */
export async function readPrime(file, card) {
  if (file.size > MOST_BYTES) throw new Error(`${file.name} is too large for the browser: take a part of it.`);
  const context = new OfflineAudioContext(1, 1, card.sample_rate);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error(`${file.name} is no sound file that this browser can read.`);
  });
  const least = card.limits.least_prime_samples;
  if (sound.length < least) {
    throw new Error(`${file.name} is too short: the model goes on from ${(least / card.sample_rate).toFixed(1)} s or more.`);
  }
  const most = Math.floor(Math.min(card.limits.prime_seconds, MOST_SECONDS) * card.sample_rate);
  const start = Math.max(0, sound.length - Math.max(least, most));
  const samples = new Float32Array(sound.length - start);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const part = sound.getChannelData(channel).subarray(start);
    for (let index = 0; index < part.length; index++) samples[index] += part[index] / sound.numberOfChannels;
  }
  return samples.map((value) => Math.max(-1, Math.min(1, value)));
}

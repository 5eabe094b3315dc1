// Plays blocks of samples without a seam, and asks for more as they are heard.

const AHEAD_SECONDS = 1.5; // asked for before it is heard: a new temperature is heard after so long
const BEGIN_SECONDS = 0.6; // there before the first of it is heard
const KEPT_SECONDS = 1800; // of what was heard

export class Player {
  /**
   * @param rate of the samples, Hz: the context has it too, so that nothing is resampled block by block.
   * @param more called with how many blocks more are wanted.
   * @param short called each time the sound had to stop because no block was there.
   */
  constructor(rate, { more, short }) {
    this.context = new AudioContext({ sampleRate: rate });
    this.analyser = new AnalyserNode(this.context, { fftSize: 2048, smoothingTimeConstant: 0 });
    this.analyser.connect(this.context.destination);
    this.more = more;
    this.short = short;
    this.waiting = []; // blocks that are not scheduled yet
    this.scheduled = []; // {source, samples, frame it begins at}
    this.next = 0; // frame of the context at which the next block begins
    this.running = false; // is something scheduled?
    this.done = null; // called at the end, where one is in sight
    this.heard = []; // blocks, the last KEPT_SECONDS
    this.heardFrames = 0; // of all that was heard
  }

  get rate() {
    return this.context.sampleRate;
  }

  /** The stream has begun, with blocks of so many seconds. */
  begin(stepSeconds) {
    this.more(Math.max(2, Math.ceil(AHEAD_SECONDS / stepSeconds)));
  }

  add(samples) {
    this.waiting.push(samples);
    if (!this.running) {
      const ready = this.waiting.reduce((sum, one) => sum + one.length, 0) / this.rate;
      if (ready < BEGIN_SECONDS) return;
      this.next = Math.ceil((this.context.currentTime + 0.05) * this.rate);
      this.running = true;
    }
    while (this.waiting.length) this.schedule(this.waiting.shift());
  }

  schedule(samples) {
    const buffer = new AudioBuffer({ length: samples.length, numberOfChannels: 1, sampleRate: this.rate });
    buffer.getChannelData(0).set(Float32Array.from(samples, (value) => value / 32768));
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.analyser);
    const now = this.context.currentTime * this.rate;
    if (this.next < now) {
      this.short();
      this.next = Math.ceil(now + 0.05 * this.rate);
    }
    source.start(this.next / this.rate);
    source.onended = () => this.ended();
    this.scheduled.push({ source, samples, frame: this.next });
    this.next += samples.length;
  }

  ended() {
    this.keep(this.scheduled.shift().samples);
    if (!this.scheduled.length) this.ranOut();
    this.more(1);
  }

  keep(samples) {
    this.heard.push(samples);
    this.heardFrames += samples.length;
    while (this.heard.length * this.heard[0].length > KEPT_SECONDS * this.rate) this.heard.shift();
  }

  ranOut() {
    this.running = false;
    if (this.done) return this.done();
    this.short();
    this.more(1); // from now on one block further ahead
  }

  /** What was heard, block by block, to this moment. */
  take() {
    return [...this.heard, ...this.parts()];
  }

  /** Seconds of sound that were heard, silence not counted. */
  get seconds() {
    const now = this.parts().reduce((sum, one) => sum + one.length, 0);
    return (this.heardFrames + now) / this.rate;
  }

  /** Of the blocks that are scheduled, what was heard already. */
  parts() {
    const now = this.context.currentTime * this.rate;
    return this.scheduled
      .filter(({ frame }) => frame < now)
      .map(({ samples, frame }) => samples.subarray(0, Math.floor(now - frame)));
  }

  /** No more will come: what is scheduled is heard, then `done` is called. */
  finish(done) {
    this.more = () => {};
    this.done = done;
    if (!this.scheduled.length) done();
  }

  /** Silence. What was heard stays. */
  close() {
    for (const samples of this.parts()) this.keep(samples);
    for (const { source } of this.scheduled) source.onended = null;
    this.scheduled = [];
    if (this.context.state !== "closed") this.context.close();
  }
}

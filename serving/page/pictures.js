// The waveform and the spectrogram that move as it sounds, and the level meter.

const SECONDS = 10; // from edge to edge
const LOWEST_HZ = 50;
const FLOOR_DB = -100; // darkest
const CEILING_DB = -25; // brightest
const QUIET_DB = -60; // the meter's lowest
// From dark to bright, by lightness, so that it reads without colour, too.
const COLOURS = [[11, 10, 18], [62, 22, 104], [140, 41, 99], [214, 83, 60], [249, 160, 50], [252, 240, 170]];
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

export class Pictures {
  constructor(wave, spectrum, meter, decibels) {
    this.wave = wave.getContext("2d", { willReadFrequently: true });
    this.spectrum = spectrum.getContext("2d", { willReadFrequently: true });
    this.meter = meter;
    this.decibels = decibels;
    this.at = 0; // column
    this.clear();
  }

  clear() {
    for (const { canvas } of [this.wave, this.spectrum]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.show(QUIET_DB);
  }

  /** Follow an analyser until the returned function is called. */
  follow(analyser) {
    const samples = new Float32Array(analyser.fftSize);
    const bins = new Float32Array(analyser.frequencyBinCount);
    let last = analyser.context.currentTime;
    let frame = 0;
    const draw = () => {
      frame = requestAnimationFrame(draw);
      const now = analyser.context.currentTime;
      const passed = Math.min(now - last, SECONDS);
      const columns = Math.floor((passed * this.wave.canvas.width) / SECONDS);
      if (columns < 1) return;
      last = now;
      this.at += columns;
      analyser.getFloatTimeDomainData(samples);
      analyser.getFloatFrequencyData(bins);
      this.show(loudness(samples));
      const recent = samples.subarray(Math.max(0, samples.length - Math.ceil(passed * analyser.context.sampleRate)));
      this.drawColumns(columns, (context, x) => this.drawWave(context, x, columns, recent), this.wave);
      this.drawColumns(columns, (context, x) => drawSpectrum(context, x, columns, bins, analyser), this.spectrum);
    };
    frame = requestAnimationFrame(draw);
    return () => {
      cancelAnimationFrame(frame);
      this.show(QUIET_DB);
    };
  }

  /** At the right edge, after all else was pushed to the left; or in place, where movement is not wanted. */
  drawColumns(count, draw, context) {
    const { width, height } = context.canvas;
    if (STILL.matches) {
      const x = Math.floor(this.at) % width;
      context.clearRect(x, 0, count + 4, height);
      return draw(context, Math.min(x, width - count));
    }
    context.globalCompositeOperation = "copy";
    context.drawImage(context.canvas, -count, 0);
    context.globalCompositeOperation = "source-over";
    draw(context, width - count);
  }

  drawWave(context, x, count, samples) {
    const middle = context.canvas.height / 2;
    let [low, high] = [0, 0];
    for (const value of samples) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    context.fillStyle = "#7fb4f5";
    context.fillRect(x, middle - high * middle, count, Math.max(1, (high - low) * middle));
  }

  show(level) {
    this.meter.value = level;
    const text = level > QUIET_DB ? `${level.toFixed(0).replace("-", "−")} dB` : "silence";
    this.meter.textContent = text;
    this.meter.setAttribute("aria-valuetext", text);
    this.decibels.textContent = text;
  }
}

function loudness(samples) {
  let sum = 0;
  for (const value of samples) sum += value * value;
  return Math.max(QUIET_DB, 10 * Math.log10(sum / samples.length + 1e-12));
}

/** Octaves are equally high. */
function drawSpectrum(context, x, count, bins, analyser) {
  const { height } = context.canvas;
  const top = analyser.context.sampleRate / 2;
  const picture = context.createImageData(count, height);
  for (let y = 0; y < height; y++) {
    const hertz = top * (LOWEST_HZ / top) ** (y / (height - 1));
    const bin = Math.min(bins.length - 1, Math.round((hertz / top) * bins.length));
    const colour = colourOf((bins[bin] - FLOOR_DB) / (CEILING_DB - FLOOR_DB));
    for (let column = 0; column < count; column++) picture.data.set(colour, 4 * (y * count + column));
  }
  context.putImageData(picture, x, 0);
}

function colourOf(brightness) {
  const place = Math.max(0, Math.min(1, brightness || 0)) * (COLOURS.length - 1);
  const index = Math.min(COLOURS.length - 2, Math.floor(place));
  const mix = (part) => COLOURS[index][part] + (place - index) * (COLOURS[index + 1][part] - COLOURS[index][part]);
  return [mix(0), mix(1), mix(2), 255];
}

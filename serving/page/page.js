// The controls: what they show, and what they do.

import { Pictures } from "./pictures.js";
import { Player } from "./player.js";
import { readPrime } from "./prime.js";
import { openStream } from "./stream.js";
import { wavFile } from "./wav.js";

const OWN = -1; // a temperature under 0 is the model's own
const main = document.querySelector("main");
const at = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));
const pictures = new Pictures(at.wave, at.spectrum, at.level, at.decibels);

let token = null;
let about = null; // {model, version, card}
let prime = null; // {file, rate, samples}
let warmth = OWN;
let stream = null;
let player = null;
let ticking = 0;
let unfollow = () => {};

// The server --------------------------------------------------------------------------------------------------------

async function load() {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const answer = await fetch("about", { headers }).catch(() => null);
  if (!answer) throw new Error("The server does not answer. Is it still running?");
  if (answer.status === 401) {
    at.entry.hidden = false;
    at.token.focus();
    throw new Error(token === null ? "" : "This is not the server's token.");
  }
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  if (!said.card.sample_rate) throw new Error(`Version ${said.version} has no model card: export the model again.`);
  about = said;
}

async function enter() {
  await load();
  at.entry.hidden = true;
  at.player.hidden = false;
  at.name.textContent = document.title = `Listen to ${about.model}`;
  showTemperature();
  showPrime();
  enterState("idle", "Press Play: the model makes music for as long as you listen.");
}

// Playing -----------------------------------------------------------------------------------------------------------

async function begin() {
  const first = firstMessage();
  const { sample_rate: rate } = about.card;
  if (prime && prime.rate !== rate) await choose(prime.file);
  halt();
  player = new Player(rate, { more: (count) => stream.more(count), short: countGap });
  setGaps(0);
  pictures.clear();
  enterState("starting", prime ? `The model listens to ${prime.file.name}…` : "The model begins…");
  stream = openStream(first, prime && prime.samples, { begun, block: (samples) => player.add(samples), failed });
  unfollow = pictures.follow(player.analyser);
  ticking = setInterval(showClock, 200);
  await player.context.resume();
}

function firstMessage() {
  const first = { version: about.version, temperature: warmth };
  if (token !== null) first.token = token;
  if (!at.seed.checkValidity()) throw new Error("The seed must be a whole number, or empty.");
  if (at.seed.value) first.seed = Number(at.seed.value);
  return first;
}

function begun(said) {
  main.dataset.seed = said.seed;
  const from = prime ? `on from ${prime.file.name}, ` : "";
  enterState("playing", `Playing ${from}version ${said.version}, seed ${said.seed}.`);
  player.begin(said.step_seconds);
}

function failed(words) {
  const paused = main.dataset.state === "paused";
  showError(words);
  stream = null;
  enterState("stopped", "Stopped.");
  if (paused) halt();
  else player.finish(halt);
  load().catch(() => {}); // it may serve another version now
}

/** Silence; what was heard can still be saved. */
function halt() {
  if (stream) stream.close();
  if (player) player.close();
  stream = null;
  unfollow();
  clearInterval(ticking);
  if (player) showClock();
}

async function toggle() {
  const state = main.dataset.state;
  if (state === "playing") {
    await player.context.suspend();
    enterState("paused", "Paused.");
  } else if (state === "paused") {
    await player.context.resume();
    enterState("playing", "Playing.");
  } else if (state !== "starting") {
    await begin();
  }
}

function stop() {
  halt();
  enterState("stopped", "Stopped.");
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(wavFile(player.take(), player.rate));
  link.download = `${about.model}.wav`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The temperature and the beginning ---------------------------------------------------------------------------------

function warm(value) {
  warmth = value;
  showTemperature();
  if (stream) stream.warm(warmth);
}

async function choose(file) {
  const rate = about.card.sample_rate;
  at.from.textContent = `Reading ${file.name}…`;
  try {
    prime = { file, rate, samples: await readPrime(file, about.card) };
  } catch (error) {
    forget();
    throw error;
  }
  showPrime();
}

function forget() {
  prime = null;
  at.file.value = "";
  showPrime();
}

async function chooseAndPlay(file) {
  await choose(file);
  if (stream) await begin();
}

// What is shown -----------------------------------------------------------------------------------------------------

function enterState(state, words) {
  main.dataset.state = state;
  at.status.textContent = words;
  at.play.textContent = state === "playing" ? "Pause" : "Play";
  const stoppable = ["starting", "playing", "paused"].includes(state);
  if (!stoppable && document.activeElement === at.stop) at.play.focus(); // what is disabled has no focus
  at.stop.disabled = !stoppable;
  at.save.disabled = !player;
}

function showError(words) {
  at.error.textContent = words;
  at.error.hidden = !words;
  if (words) at.error.scrollIntoView({ block: "nearest" });
}

function showTemperature() {
  const value = warmth < 0 ? about.card.temperature : warmth;
  at.temperature.value = value;
  const text = `${value.toFixed(2)}${warmth < 0 ? ", the model's own" : ""}`;
  at.temperature.setAttribute("aria-valuetext", text);
  at.degrees.textContent = text;
  at.own.hidden = warmth < 0;
}

function showPrime() {
  const seconds = (samples) => (samples.length / about.card.sample_rate).toFixed(1);
  at.forget.hidden = !prime;
  at.from.textContent = prime
    ? `The model goes on from the last ${seconds(prime.samples)} s of ${prime.file.name}.`
    : "Pick a file or drop one here. Without one, the model begins from the song that it has learned.";
}

function showClock() {
  const seconds = Math.floor(player.seconds);
  at.clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function countGap() {
  setGaps(Number(main.dataset.underruns) + 1);
}

function setGaps(count) {
  main.dataset.underruns = count;
  at.gaps.hidden = !count;
  at.gaps.textContent = `The server was too slow ${count === 1 ? "once" : `${count} times`}: there was a gap.`;
}

// Wiring ------------------------------------------------------------------------------------------------------------

/** Do something, and show what goes wrong. */
function attempt(what) {
  return async (event) => {
    showError("");
    try {
      await what(event);
    } catch (error) {
      showError(error.message);
      if (main.dataset.state === "starting") stop();
    }
  };
}

at.entry.addEventListener("submit", attempt(async (event) => {
  event.preventDefault();
  token = at.token.value;
  await enter();
}));
at.play.addEventListener("click", attempt(toggle));
at.stop.addEventListener("click", attempt(stop));
at.save.addEventListener("click", attempt(save));
at.temperature.addEventListener("input", () => warm(Number(at.temperature.value)));
at.own.addEventListener("click", () => {
  warm(OWN);
  at.temperature.focus();
});
at.file.addEventListener("change", attempt(async () => {
  if (at.file.files.length) await chooseAndPlay(at.file.files[0]);
}));
at.forget.addEventListener("click", () => {
  forget();
  at.file.focus();
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at.drop.classList.add("over");
});
addEventListener("dragleave", () => at.drop.classList.remove("over"));
addEventListener("drop", attempt(async (event) => {
  event.preventDefault();
  at.drop.classList.remove("over");
  if (about && event.dataTransfer.files.length) await chooseAndPlay(event.dataTransfer.files[0]);
}));

attempt(enter)();

// The panel of `OwnVoice.show`: records the microphone and sends the samples, as float32 at their true rate, to Python.

const PAGE = `
<style>
.own-voice { max-width: 40em; padding: 12px; border: 1px solid #8886; border-radius: 8px; box-sizing: border-box;
  font: 14px/1.45 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, inherit); }
.own-voice .row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 0 0 8px; }
.own-voice input.name { font: inherit; width: 9em; max-width: 100%; box-sizing: border-box; padding: 5px 8px; color: inherit; background: transparent;
  border: 1px solid #888; border-radius: 5px; }
.own-voice button { font: inherit; padding: 5px 12px; color: inherit; background: #8882; border: 1px solid #888;
  border-radius: 5px; cursor: pointer; font-variant-numeric: tabular-nums; }
.own-voice button.record { color: #fff; background: #b3261e; border-color: #b3261e; }
.own-voice button.ask { color: #fff; background: #1565c0; border-color: #1565c0; font-size: 18px; padding: 8px 18px; }
.own-voice button[aria-disabled=true] { opacity: 0.45; cursor: default; }
.own-voice :is(button, input):focus-visible { outline: 3px solid #f9a825; outline-offset: 2px; }
.own-voice ul { margin: 0 0 8px; padding-left: 1.4em; }
.own-voice meter { width: 100%; height: 12px; margin: 0 0 8px; visibility: hidden; }
.own-voice.recording meter { visibility: visible; }
.own-voice .answer b { display: block; font-size: 28px; line-height: 1.3; overflow-wrap: anywhere; }
.own-voice .status { margin: 8px 0; min-height: 1.45em; white-space: pre-line; overflow-wrap: anywhere; }
.own-voice small { overflow-wrap: anywhere; }
.own-voice hr { margin: 12px 0; border: 0; border-top: 1px solid #8886; }
</style>
<div class="row"><label><span>Name</span> <input class="name" maxlength="40" autocomplete="off" spellcheck="false"></label>
  <button class="record"></button><button class="add-file">Choose a file …</button></div>
<ul class="people" aria-label="who was recorded"></ul>
<button class="enrol">Enrol</button>
<hr>
<div class="row"><button class="ask"></button><button class="ask-file">Ask of a file …</button></div>
<div class="answer" role="status"><b></b><span></span></div>
<div class="status" role="status"></div>
<meter min="0" max="1" aria-label="level of the microphone"></meter>
<div class="row"><button class="delete">Delete all recordings</button><small></small></div>
<input class="file" type="file" accept="audio/*,video/mp4,video/webm" hidden>`;

const PROBLEMS = {
  NotAllowedError: "The microphone is refused: allow it for this page, beside the address, then try again, or choose a file.",
  NotFoundError: "No microphone was found: plug one in, then try again, or choose a file.",
  NotReadableError: "The microphone cannot be opened: close other programs that use it, then try again, or choose a file.",
  NotSecure: "This page may not record, because it is not secure (http): open it by https or on localhost, then try again, or choose a file.",
  Ended: "The microphone was switched off while it recorded: switch it on, then try again, or choose a file.",
  EncodingError: "This browser cannot read that file as sound: choose a WAV, FLAC, MP3 or M4A file.",
};
const RATE = 16000, MOST_SECONDS = 60; // of a file: a server of Jupyter takes messages of 10 MB
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; } });`;

function problem(name) {
  return Object.assign(new Error(name), { name });
}

async function listen(stream, onBlock) {
  let context = new AudioContext({ sampleRate: RATE }), source;
  try {
    source = context.createMediaStreamSource(stream);
  } catch { // some browsers do not convert a microphone's rate; Python does
    context.close();
    context = new AudioContext();
    source = context.createMediaStreamSource(stream);
  }
  const address = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
  await context.audioWorklet.addModule(address);
  URL.revokeObjectURL(address);
  const tap = new AudioWorkletNode(context, "tap", { channelCount: 1, channelCountMode: "explicit" });
  tap.port.onmessage = ({ data }) => onBlock(data, context.sampleRate);
  source.connect(tap).connect(context.destination); // it passes silence on; a node that leads nowhere may not run
  await context.resume();
  return context;
}

// Resolves to {samples, rate} after so many seconds, or at `stopper.stop`; nothing is kept at `stopper.cancel`.
async function record(seconds, stopper, onLevel) {
  if (!navigator.mediaDevices) throw problem("NotSecure");
  // What a call does to a voice changes from one recording to the next.
  const untouched = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: untouched });
  const blocks = [];
  let count = 0, context, rate;
  try {
    await new Promise((resolve, reject) => {
      stopper.stop = resolve;
      stopper.cancel = () => reject(problem("Ended"));
      stream.getTracks().forEach((track) => { track.onended = stopper.cancel; });
      listen(stream, (block, blockRate) => {
        blocks.push(block);
        count += block.length;
        rate = blockRate;
        onLevel(Math.sqrt(block.reduce((sum, x) => sum + x * x, 0) / block.length), seconds - count / rate);
        if (count >= seconds * rate) resolve();
      }).then((opened) => { context = opened; }, reject);
    });
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    context?.close();
    stopper.stop = stopper.cancel = null;
  }
  const samples = new Float32Array(count); // (samples,)
  blocks.reduce((at, block) => (samples.set(block, at), at + block.length), 0);
  return { samples: samples.slice(0, Math.round(seconds * rate)), rate };
}

async function decode(file) {
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  const samples = new Float32Array(Math.min(sound.length, MOST_SECONDS * RATE)); // (samples,)
  for (let channel = 0; channel < sound.numberOfChannels; channel++)
    sound.getChannelData(channel).subarray(0, samples.length).forEach((x, i) => { samples[i] += x / sound.numberOfChannels; });
  return { samples, rate: RATE };
}

function render({ model, el }) {
  // A text in the reader's language, with values in the places that it names in braces.
  const tell = (text, values = {}) => Object.entries(values).reduce(
    (told, [name, value]) => told.replace(`{${name}}`, () => value), model.get("texts")[text] ?? text);
  const panel = document.createElement("section");
  panel.className = "own-voice";
  panel.setAttribute("aria-label", tell("Your own voice"));
  panel.innerHTML = PAGE;
  el.append(panel);
  const find = (selector) => panel.querySelector(selector);
  const seconds = model.get("seconds"), buttons = panel.querySelectorAll("button"), stopper = {};
  const labels = { record: tell("● Record {n} s", { n: seconds }), ask: tell("Who is this?") };
  for (const part of panel.querySelectorAll("label span, button")) part.textContent = tell(part.textContent);
  for (const part of panel.querySelectorAll("[aria-label]")) part.setAttribute("aria-label", tell(part.getAttribute("aria-label")));

  const say = (text) => { find(".status").textContent = text; };
  const pause = (now, running = null) => { // not `disabled`, which would take the keyboard's focus away
    buttons.forEach((button) => button.setAttribute("aria-disabled", now && button !== running));
    panel.classList.toggle("recording", running !== null);
    for (const name in labels) find(`.${name}`).textContent = labels[name];
  };
  const draw = () => {
    const { people, folder, message, answer } = model.get("state");
    const list = people.length ? people : [tell("Nobody yet: three recordings of each person are enough.")];
    find(".people").replaceChildren(...list.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    [find(".answer b").textContent, find(".answer span").textContent] = [...answer.split("\n"), "", ""];
    find("small").textContent = tell("They are in {folder}.", { folder });
    say(message);
    pause(false);
  };

  const needsName = (what) => {
    if (what !== "add" || find(".name").value.trim()) return false;
    say(tell("Type the name of who will speak first."));
    find(".name").focus();
    return true;
  };
  const act = async (what, sound) => {
    if (needsName(what)) return;
    pause(true);
    try {
      const { samples, rate } = (await sound?.()) ?? {};
      pause(true);
      say(tell("Working … It waits while another cell runs; after a restart of the kernel, run this cell again."));
      model.send({ do: what, name: find(".name").value, rate }, undefined, samples ? [samples.buffer] : []);
    } catch (error) {
      pause(false);
      const known = PROBLEMS[error.name], what = `${error.name}: ${error.message}`;
      say(known ? tell(known) : tell("Recording failed ({error}): choose a file.", { error: what }));
    }
  };
  const microphone = (button) => () => {
    say(tell("Allow the microphone if the browser asks."));
    return record(seconds, stopper, (level, left) => {
      if (!panel.classList.contains("recording")) {
        pause(true, button);
        say(tell("Speak now."));
      }
      button.textContent = tell("■ Stop, {n} s left", { n: Math.max(0, Math.ceil(left)) });
      find("meter").value = Math.max(0, 1 + Math.log10(level + 1e-9) / 3); // from -60 dB up
    });
  };
  const choose = (what) => {
    if (needsName(what)) return;
    find(".file").onchange = ({ target }) => {
      const [file] = target.files;
      if (file) act(what, () => decode(file));
      target.value = ""; // the same file may be chosen again
    };
    find(".file").click();
  };

  const click = (selector, work) => {
    find(selector).onclick = ({ target }) => {
      if (target.getAttribute("aria-disabled") !== "true") (stopper.stop ?? work)(target);
    };
  };
  click(".record", (button) => act("add", microphone(button)));
  click(".ask", (button) => act("ask", microphone(button)));
  click(".add-file", () => choose("add"));
  click(".ask-file", () => choose("ask"));
  click(".enrol", () => act("enrol"));
  click(".delete", () => act("delete"));
  model.on("change:state", draw);
  draw();
  return () => { // the cell was cleared or run again: no microphone stays open
    stopper.cancel?.();
    model.off("change:state", draw);
  };
}

export default { render };

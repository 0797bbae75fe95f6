// What is said about one image: answer, error, or that it is not there yet.

import { blend, DEFAULT_OPACITY, drawScale, strongest, upsample } from './map.js';
import { DONE, FAILED, STOPPED } from './queue.js';
import { STATES } from './list.js';
import { explain, milliseconds, percent, read, size } from './words.js';

/** Fills one element; `actions` has `again`, `savePicture` and `saveRecord`, given the item. */
export class Result {
  #element;
  #actions;
  #opacity = DEFAULT_OPACITY;

  constructor(element, actions) {
    this.#element = element;
    this.#actions = actions;
  }

  show(item) {
    const focused = this.#element.contains(document.activeElement);
    const part = clone(item);
    const at = (selector) => part.querySelector(selector);
    at('.filename').textContent = item.file.name;
    if (item.state === DONE) this.#fillAnswer(item, part, at);
    else if (item.state === FAILED) fillFailure(item.error, at);
    else at('.state').textContent = STATES[item.state];
    const again = at('[data-do="again"]');
    if (item.state === STOPPED) again.hidden = false;
    again?.addEventListener('click', () => this.#actions.again(item));
    this.#element.replaceChildren(part);
    this.#element.hidden = false;
    // The button that was pressed is gone.
    if (focused) this.#element.focus();
  }

  clear() {
    this.#element.replaceChildren();
    this.#element.hidden = true;
  }

  #fillAnswer(item, part, at) {
    const { answer, model } = item;
    const said = read(answer, model);
    at('.label').textContent = said.name;
    at('.description').textContent = said.description;
    at('.confidence').textContent = said.confidence;
    at('.risk').textContent = said.risk;
    at('.risk').dataset.severity = said.severity;
    if (!said.decided) {
      at('.undecided').textContent = `${said.risk}: the highest probability, ${said.confidence}, `
        + `is less than the ${said.threshold} that this model needs to decide, so no risk is `
        + 'stated. Take the image as unread.';
      at('.undecided').hidden = false;
      at('.verdict').classList.add('undecided-verdict');
    }
    at('.original').src = item.url;
    at('[data-do="save-record"]').addEventListener('click', () => this.#actions.saveRecord(item));
    drawScale(at('.scale canvas'));
    fillFacts(item, at('.facts'));
    this.#fillOverlay(item, at);
  }

  async #fillOverlay(item, at) {
    const { answer, model } = item;
    const canvas = at('.overlay');
    const [slider, output] = [at('.opacity input'), at('.opacity output')];
    const explained = at('.explained');
    const predicted = model.classes.findIndex((each) => each.key === answer.label);
    item.explained ??= predicted;
    let draw = () => {};
    const describe = () => {
      const { name } = model.classes[item.explained];
      const nothing = strongest(answer.maps[item.explained]) === 0;
      explained.textContent = nothing ? `${name}: none found` : name;
      canvas.setAttribute('aria-label', nothing
        ? `The image; nothing in it speaks for ${name}`
        : `The image, coloured where it speaks for ${name}`);
      output.textContent = `${Math.round(100 * this.#opacity)} %`;
      draw();
    };
    slider.value = 100 * this.#opacity;
    slider.addEventListener('input', () => {
      this.#opacity = Number(slider.value) / 100;
      describe();
    });
    at('[data-do="save-picture"]').addEventListener('click', () => (
      this.#actions.savePicture(item, canvas)
    ));
    const order = model.classes.map((_, k) => k);
    order.sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
    at('.classes').append(...order.map((k) => classRow(item, k, k === predicted, () => {
      item.explained = k;
      describe();
    })));
    describe();
    const picture = await pixels(answer.display, canvas);
    const strengths = new Map();
    draw = () => {
      const k = item.explained;
      if (!strengths.has(k)) {
        strengths.set(k, upsample(answer.maps[k], picture.width, picture.height));
      }
      canvas.getContext('2d').putImageData(blend(picture, strengths.get(k), this.#opacity), 0, 0);
    };
    draw();
    canvas.dataset.drawn = 'true';
  }
}

/** A term and its text, for a <dl>. */
export function pair(name, value) {
  const row = document.createElement('div');
  const [term, text] = [document.createElement('dt'), document.createElement('dd')];
  term.textContent = name;
  text.textContent = value;
  row.append(term, text);
  return row;
}

function clone(item) {
  const kind = { [DONE]: 'answer', [FAILED]: 'failed' }[item.state] ?? 'pending';
  return document.querySelector(`#${kind}-template`).content.cloneNode(true);
}

function fillFailure(error, at) {
  const { title, advice, reason, again } = explain(error);
  at('.title').textContent = title;
  at('.advice').textContent = advice;
  at('.reason').textContent = reason;
  at('[data-do="again"]').hidden = !again;
}

function fillFacts({ file, answer }, list) {
  const { round_trip: roundTrip, ...stages } = answer.milliseconds;
  const facts = {
    Model: answer.name,
    Version: answer.version,
    File: size(file.size),
    'Round trip': milliseconds(roundTrip),
    ...Object.fromEntries(Object.entries(stages).map(
      ([stage, value]) => [stage[0].toUpperCase() + stage.slice(1), milliseconds(value)],
    )),
  };
  list.append(...Object.entries(facts).map(([name, value]) => pair(name, value)));
}

function classRow(item, k, predicted, chosen) {
  const row = document.querySelector('#class-template').content.cloneNode(true).firstElementChild;
  const { name, description } = item.model.classes[k];
  const probability = item.answer.probabilities[k];
  const radio = row.querySelector('input');
  radio.checked = k === item.explained;
  radio.addEventListener('change', chosen);
  row.classList.toggle('predicted', predicted);
  row.querySelector('.class-name').textContent = name;
  row.querySelector('.class-percent').textContent = percent(probability);
  row.querySelector('.class-description').textContent = description;
  row.querySelector('.bar span').style.width = `${100 * probability}%`;
  return row;
}

// The colours as they are in the file: a display's profile is no part of the image.
async function pixels(blob, canvas) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// The list of files beside the answer.

import { DELAYED, DONE, FAILED, STOPPED, WAITING, WORKING } from './queue.js';
import { explain, read } from './words.js';

export const STATES = {
  [WAITING]: 'Waiting',
  [WORKING]: 'Being read …',
  [DELAYED]: 'The server is busy; asking again …',
  [STOPPED]: 'Stopped',
};

const template = document.querySelector('#row-template').content;

/** Rows of which one is current; the arrow keys move between them, Delete removes one. */
export class List {
  #rows = new Map();
  #current = null;
  #opened;
  #removed;

  /**
   * @param element the <ul>.
   * @param opened (item) => void.
   * @param removed (item) => void; the row is then taken away with `remove`.
   */
  constructor(element, opened, removed) {
    this.element = element;
    this.#opened = opened;
    this.#removed = removed;
    element.addEventListener('keydown', (event) => this.#key(event));
  }

  get current() {
    return this.#current;
  }

  has(item) {
    return this.#rows.has(item);
  }

  add(item) {
    const row = template.cloneNode(true).firstElementChild;
    row.querySelector('.row-name').textContent = item.file.name;
    row.querySelector('.open').addEventListener('click', () => this.open(item));
    const remove = row.querySelector('.remove');
    remove.setAttribute('aria-label', `Remove ${item.file.name}`);
    remove.addEventListener('click', () => this.#removed(item));
    this.#rows.set(item, row);
    this.element.append(row);
    this.#mark(row, false);
    this.update(item);
  }

  /** Take a row away; if it was current, the one after it, else before it, becomes so. */
  remove(item) {
    const row = this.#rows.get(item);
    const focused = row.contains(document.activeElement);
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.#rows.delete(item);
    if (item === this.#current) {
      this.#current = null;
      if (neighbour !== null) this.open(this.#itemOf(neighbour));
    }
    if (focused) this.#rows.get(this.#current)?.querySelector('.open').focus();
  }

  clear() {
    this.element.replaceChildren();
    this.#rows.clear();
    this.#current = null;
  }

  open(item) {
    if (this.#current !== null) this.#mark(this.#rows.get(this.#current), false);
    this.#current = item;
    const row = this.#rows.get(item);
    this.#mark(row, true);
    row.scrollIntoView({ block: 'nearest' });
    this.#opened(item);
  }

  update(item) {
    const row = this.#rows.get(item);
    const state = row.querySelector('.row-state');
    row.dataset.state = item.state;
    delete state.dataset.severity;
    if (item.state === DONE) {
      const { name, confidence, risk, severity } = read(item.answer, item.model);
      state.textContent = `${name} ${confidence} · ${risk}`;
      state.dataset.severity = severity;
      row.querySelector('.thumb').replaceChildren(picture(item.url));
    } else {
      state.textContent = item.state === FAILED ? explain(item.error).short : STATES[item.state];
    }
  }

  #key(event) {
    const row = event.target.closest('li');
    if (row === null) return;
    const rows = [...this.element.children];
    const at = rows.indexOf(row);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 };
    if (event.key === 'Delete') {
      this.#removed(this.#itemOf(row));
    } else if (event.key in moves) {
      const next = rows[moves[event.key]];
      if (next) {
        this.open(this.#itemOf(next));
        next.querySelector('.open').focus();
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  // One row is reached by Tab, so that a hundred images need not be tabbed through.
  #mark(row, current) {
    const open = row.querySelector('.open');
    row.classList.toggle('current', current);
    if (current) open.setAttribute('aria-current', 'true');
    else open.removeAttribute('aria-current');
    for (const button of row.querySelectorAll('button')) button.tabIndex = current ? 0 : -1;
  }

  #itemOf(row) {
    return [...this.#rows].find(([, each]) => each === row)[0];
  }
}

function picture(url) {
  const image = new Image();
  image.src = url;
  image.alt = '';
  return image;
}

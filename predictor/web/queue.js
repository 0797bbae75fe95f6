// The files and what has become of them; a few are with the server at a time.

const IN_FLIGHT = 3;
const TRIES = 8;
const LONGEST_WAIT_S = 30;

export const WAITING = 'waiting';
export const WORKING = 'working';
export const DELAYED = 'delayed';
export const DONE = 'done';
export const FAILED = 'failed';
export const STOPPED = 'stopped';

const UNFINISHED = [WAITING, WORKING, DELAYED];

export class Queue {
  #ask;
  #changed;
  #held = true;
  #working = 0;

  /**
   * @param ask (file, signal) => Promise of an answer; an error's `retryAfterS` has it asked again.
   * @param changed (item) => void, called whenever an item's state has changed.
   */
  constructor(ask, changed) {
    this.items = [];
    this.#ask = ask;
    this.#changed = changed;
  }

  get unfinished() {
    return this.items.filter((item) => UNFINISHED.includes(item.state));
  }

  /** Begin; until then files are only taken in. */
  start() {
    this.#held = false;
    this.next();
  }

  /** Take files in; `next` sends them off. */
  add(files) {
    const items = files.map((file) => ({ file, state: WAITING }));
    this.items.push(...items);
    return items;
  }

  again(item) {
    this.#enter(item, WAITING);
    this.next();
  }

  /** Give up everything that is not answered yet. */
  stop() {
    const stopped = this.unfinished;
    for (const item of stopped) this.#stop(item);
    return stopped.length;
  }

  remove(item) {
    this.#stop(item);
    this.items.splice(this.items.indexOf(item), 1);
  }

  #stop(item) {
    item.abort?.abort();
    if (UNFINISHED.includes(item.state)) this.#enter(item, STOPPED);
  }

  next() {
    if (this.#held) return;
    for (const item of this.items) {
      if (this.#working >= IN_FLIGHT) return;
      if (item.state === WAITING) this.#work(item);
    }
  }

  async #work(item) {
    this.#working += 1;
    const abort = new AbortController();
    item.abort = abort;
    this.#enter(item, WORKING);
    try {
      item.answer = await this.#persist(item, abort.signal);
      if (!abort.signal.aborted) this.#enter(item, DONE);
    } catch (error) {
      if (!abort.signal.aborted) {
        item.error = error;
        this.#enter(item, FAILED);
      }
    }
    this.#working -= 1;
    this.next();
  }

  // Whoever waits keeps its place among those in flight, so a busy server is asked less.
  async #persist(item, signal) {
    for (let left = TRIES - 1; ; left -= 1) {
      try {
        return await this.#ask(item.file, signal);
      } catch (error) {
        if (signal.aborted || left === 0 || !error.retryAfterS) throw error;
        this.#enter(item, DELAYED);
        await pause(Math.min(error.retryAfterS, LONGEST_WAIT_S), signal);
        this.#enter(item, WORKING);
      }
    }
  }

  #enter(item, state) {
    item.state = state;
    this.#changed(item);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

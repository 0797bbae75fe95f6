// The page: files in, answers out. All that is known of the model comes from the server.

import { Api, Refusal } from './api.js';
import { List } from './list.js';
import { DONE, FAILED, Queue, STOPPED } from './queue.js';
import { pair, Result } from './result.js';
import { count, explain, read, record, size } from './words.js';

const POLL_MS = 1000;
// Of a request that is not the file: its JSON and the file's length.
const OVERHEAD_BYTES = 1024;

const find = (id) => document.getElementById(id);

let model = null;
let connecting = false;
const api = new Api(askToken);
const queue = new Queue(ask, changed);
const list = new List(find('rows'), (item) => result.show(item), remove);
const result = new Result(find('result'), {
  again: (item) => queue.again(item),
  savePicture: (item, canvas) => canvas.toBlob((blob) => {
    save(blob, `${stem(item)}-${item.model.classes[item.explained].key}.png`);
  }),
  saveRecord: (item) => saveJson(record(item), `${stem(item)}.json`),
});

/** Learn what is served; after a failure, wait until it is served again. */
async function connect() {
  if (connecting) return;
  connecting = true;
  for (;;) {
    try {
      model = await api.model();
      if (model !== null) break;
      showModel('wait', 'The model is loading …');
    } catch (error) {
      showModel('down', explain(error).title);
      if (error.status === 401) {
        // Whoever has no token now is asked for it again with the next images, not every second.
        connecting = false;
        return;
      }
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
  }
  connecting = false;
  introduce();
  queue.start();
}

function introduce() {
  showModel('ready', `${model.name}, version ${model.version}`);
  find('about-classes').replaceChildren(...model.classes.map(
    ({ name, description }) => pair(name, description),
  ));
  find('about').hidden = false;
}

async function ask(file, signal) {
  const most = model.limits.max_body_bytes - OVERHEAD_BYTES;
  if (file.size > most) {
    throw new Refusal(413, `It has ${size(file.size)}; at most ${size(most)} are accepted.`);
  }
  try {
    const answer = await api.infer(model.name, file, signal);
    // Another version has other classes, perhaps.
    if (answer.version !== model.version) {
      model = await api.model() ?? model;
      introduce();
    }
    if (answer.maps.length !== model.classes.length) {
      throw new Refusal(503, 'The model was replaced meanwhile.', 1);
    }
    return answer;
  } catch (error) {
    if (error.status === 0 && !signal.aborted) {
      await file.slice(0, 1).arrayBuffer().catch(unreadable);
      showModel('down', explain(error).title);
      connect();
    }
    throw error;
  }
}

function unreadable() {
  throw new Refusal(400, 'The file has gone or may not be read. Choose it again.');
}

function add(files) {
  if (files.length === 0) return;
  document.body.classList.remove('empty');
  find('list').hidden = false;
  const items = queue.add(files);
  for (const item of items) list.add(item);
  if (list.current === null) list.open(items[0]);
  say(`${count(files.length, 'image')} added`);
  progress();
  if (model === null) connect();
  queue.next();
}

function remove(item) {
  queue.remove(item);
  list.remove(item);
  if (item.url) URL.revokeObjectURL(item.url);
  if (queue.items.length === 0) clear();
  else progress();
}

function clear() {
  list.clear();
  for (const item of [...queue.items]) {
    queue.remove(item);
    if (item.url) URL.revokeObjectURL(item.url);
  }
  result.clear();
  find('list').hidden = true;
  document.body.classList.add('empty');
  find('input').focus();
  say('No images');
}

function changed(item) {
  // What was removed or cleared away ends a little later.
  if (!list.has(item)) return;
  if (item.state === DONE) {
    item.url = URL.createObjectURL(item.answer.display);
    item.model = model;
    item.answered = new Date().toISOString();
  }
  list.update(item);
  if (item === list.current) result.show(item);
  progress();
  announce(item);
}

function progress() {
  const [all, left] = [queue.items.length, queue.unfinished.length];
  const failed = queue.items.filter((item) => item.state === FAILED).length;
  const stopped = queue.items.filter((item) => item.state === STOPPED).length;
  const parts = [left > 0 ? `${all - left} of ${all} done` : count(all, 'image')];
  if (failed > 0) parts.push(`${failed} failed`);
  if (stopped > 0) parts.push(`${stopped} stopped`);
  find('progress').textContent = parts.join(', ');
  find('stop').hidden = left === 0;
  find('again').hidden = left > 0 || !queue.items.some(repeatable);
  find('save-all').hidden = left > 0;
}

function repeatable({ state, error }) {
  return state === STOPPED || (state === FAILED && explain(error).again);
}

// Each answer aloud would be too much of many; of those the end is told, and the one on view.
function announce(item) {
  if (item.state === DONE && item === list.current) {
    const { name, confidence, risk } = read(item.answer, item.model);
    say(`${item.file.name}: ${name}, ${confidence}, risk level ${risk}`);
  } else if (item.state === FAILED && item === list.current) {
    say(`${item.file.name}: ${explain(item.error).title}`);
  } else if (queue.items.length > 1 && queue.unfinished.length === 0) {
    say(`All done: ${find('progress').textContent}`);
  }
}

function say(text) {
  find('status').textContent = text;
}

function showModel(state, text) {
  find('model').dataset.state = state;
  find('model-text').textContent = text;
}

function askToken(refused) {
  const dialog = find('token');
  const input = find('token-input');
  find('token-text').hidden = refused;
  find('token-wrong').hidden = !refused;
  input.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      resolve(dialog.returnValue === 'given' ? input.value.trim() : null);
      input.value = '';
    }, { once: true });
  });
}

function stem({ file }) {
  return file.name.replace(/\.[^.]*$/, '');
}

function saveJson(value, name) {
  save(new Blob([JSON.stringify(value, null, 2)], { type: 'application/json' }), name);
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function dropped(transfer) {
  const items = [...transfer.items].filter((each) => each.kind === 'file');
  const folders = items.filter((each) => each.webkitGetAsEntry?.()?.isDirectory);
  find('remark').hidden = folders.length === 0;
  find('remark').textContent = 'A folder cannot be dropped: open it and choose the files in it.';
  add(items.filter((each) => !folders.includes(each)).map((each) => each.getAsFile()));
}

find('input').addEventListener('change', ({ target }) => {
  add([...target.files]);
  // Else the same file could not be chosen twice.
  target.value = '';
});
find('stop').addEventListener('click', () => say(`${count(queue.stop(), 'image')} stopped`));
find('again').addEventListener('click', () => {
  queue.items.filter(repeatable).forEach((item) => queue.again(item));
});
find('clear').addEventListener('click', clear);
find('save-all').addEventListener('click', () => {
  saveJson(queue.items.map(record), 'sightline.json');
});
find('token-cancel').addEventListener('click', () => find('token').close());

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !find('token').open && queue.unfinished.length > 0) {
    find('stop').click();
  }
});
for (const name of ['dragenter', 'dragover']) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.add('dragging');
  });
}
document.addEventListener('dragleave', (event) => {
  if (event.relatedTarget === null) document.body.classList.remove('dragging');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  dropped(event.dataTransfer);
});
document.addEventListener('paste', (event) => add([...event.clipboardData.files]));

connect();

// What the page says.

const MIB = 1024 * 1024;

const AGAIN = 'Try again in a minute.';
// By HTTP status: a title, the same in a word or two, and what to do. Without the last the same
// file would be refused again.
const REFUSALS = {
  0: ['The server cannot be reached', 'No connection', 'Check the connection, then try again.'],
  400: ['This file could not be read as an image', 'Not readable'],
  401: ['The server asks for an access token', 'No access', 'Try again to enter one.'],
  403: ['The server does not allow this', 'Not allowed', AGAIN],
  404: ['The model is no longer served here', 'Model gone', 'Reload the page.'],
  408: ['The upload stalled', 'Timed out', `The connection is slow. ${AGAIN}`],
  413: ['This image is too large', 'Too large'],
  415: ['This is not a kind of file that the server reads', 'Unknown kind of file'],
  429: ['The server is busy', 'Server busy', `It stayed busy through several tries. ${AGAIN}`],
  503: ['The model is not ready', 'Not ready', `The server is starting or stopping. ${AGAIN}`],
  504: ['The answer took too long', 'Timed out', `Server or connection are slow. ${AGAIN}`],
};
const OTHER = ['The server could not answer', 'Failed', AGAIN];
const GARBLED = [
  'The answer could not be understood',
  'Failed',
  'Something between this page and the server may have changed it. Try again.',
];

/** What to show for an error: {title, short, advice, reason, again}. */
export function explain(error) {
  const known = error.status === undefined ? GARBLED : REFUSALS[error.status] ?? OTHER;
  const [title, short, advice] = known;
  // There is one image in each of the page's requests.
  const reason = error.message.replace(/^image 0: /, '');
  return { title, short, advice: advice ?? '', reason, again: advice !== undefined };
}

/** A probability; no model is ever certain, whatever its arithmetic rounds to. */
export function percent(probability) {
  if (probability < 0.001) return '< 0.1 %';
  if (probability > 0.999) return '> 99.9 %';
  return `${(100 * probability).toFixed(1)} %`;
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < MIB ? `${Math.round(bytes / 1024)} KB` : `${(bytes / MIB).toFixed(1)} MB`;
}

export function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** An answer in the words of the model that gave it. */
export function read(answer, model) {
  const chosen = model.classes.find((each) => each.key === answer.label);
  const decided = answer.risk === model.risk.levels[chosen.severity];
  return {
    ...chosen,
    severity: decided ? chosen.severity : 'undecided',
    risk: answer.risk,
    confidence: percent(answer.confidence),
    threshold: `${Number((100 * model.risk.indeterminate_below).toFixed(1))} %`,
    decided,
  };
}

/** An item as a JSON document. */
export function record({ file, answer, error, model, answered }) {
  const common = { file: file.name, size_bytes: file.size };
  if (!answer) {
    return { ...common, error: error ? { status: error.status, reason: error.message } : null };
  }
  const keys = model.classes.map((each) => each.key);
  return {
    ...common,
    answered,
    model: { name: answer.name, version: answer.version },
    label: answer.label,
    confidence: answer.confidence,
    risk: answer.risk,
    probabilities: Object.fromEntries(keys.map((key, k) => [key, answer.probabilities[k]])),
    milliseconds: answer.milliseconds,
    notice: 'Not for diagnosis.',
  };
}

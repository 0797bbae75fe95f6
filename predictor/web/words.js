// What the page says.

const MIB = 1024 * 1024;

const TITLES = {
  0: 'The server cannot be reached',
  400: 'This file could not be read as an image',
  401: 'The server asks for an access token',
  403: 'The server does not allow this',
  404: 'The model is no longer served here',
  413: 'This image is too large',
  415: 'This is not a kind of file that the server reads',
  429: 'The server is busy',
  503: 'The model is not ready',
  504: 'The answer took too long',
};
const ADVICE = {
  0: 'Check the connection, then try again.',
  401: 'Try again to enter one.',
  404: 'Reload the page.',
  429: 'It stayed busy through several tries. Try again in a minute.',
  503: 'The server is starting or stopping. Try again in a minute.',
  504: 'The server was too busy, or the connection too slow. Try again.',
};
// The same file would be refused again.
const FINAL = [400, 413, 415];

/** What to show for an error: {title, advice, reason, again}. */
export function explain(error) {
  if (error.status === undefined) {
    return {
      title: 'The answer could not be understood',
      advice: 'Something between this page and the server may have changed it.',
      reason: String(error),
      again: true,
    };
  }
  return {
    title: TITLES[error.status] ?? 'The server could not answer',
    advice: ADVICE[error.status] ?? '',
    // There is one image in each of the page's requests.
    reason: error.message.replace(/^image 0: /, ''),
    again: !FINAL.includes(error.status),
  };
}

export function percent(probability) {
  if (probability > 0 && probability < 0.001) return '< 0.1 %';
  if (probability < 1 && probability > 0.999) return '> 99.9 %';
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
    threshold: percent(model.risk.indeterminate_below),
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

// The V2 protocol, as far as the page speaks it. Addresses are relative to the page, so that it
// also works under a path prefix.

const NUMBERS = ['probabilities', 'label', 'confidence', 'risk'];
const BINARY = ['cams', 'display'];
const LENGTH_BYTES = 4;
const JSON_TYPE = 'application/json';
const PASSING = [429, 503];

/**
 * An answer that is none.
 *
 * `status` is HTTP's, or 0 when no answer came at all; `retryAfterS` is null unless it may pass.
 */
export class Refusal extends Error {
  constructor(status, reason, retryAfterS = null) {
    super(reason);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** One server, and the token it wants, which is kept in memory only. */
export class Api {
  #token = '';
  #asking = null;
  #askToken;

  /** @param askToken (refused: boolean) => Promise of a token, or of null when none is given. */
  constructor(askToken) {
    this.#askToken = askToken;
  }

  /** Name, version, classes, risk policy and limits of the served model; null while it loads. */
  async model() {
    const { models } = await (await this.#request('v2/models', {})).json();
    if (models.length === 0) return null;
    const metadata = await (await this.#request(address(models[0]), {})).json();
    return { name: metadata.name, version: metadata.versions[0], ...metadata.parameters };
  }

  /**
   * Ask about one image. The file goes as it is, without its name.
   *
   * @returns model name and version, probabilities, label, confidence, risk, the display picture
   *   as a Blob, `maps` as [{width, height, values}] of every class, and milliseconds.
   */
  async infer(name, file, signal) {
    const [request, headerLength] = encode(file);
    const headers = {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(headerLength),
    };
    const begun = performance.now();
    const response = await this.#request(`${address(name)}/infer`, {
      method: 'POST', body: request, headers, signal,
    });
    const length = Number(response.headers.get('inference-header-content-length'));
    const body = await response.arrayBuffer().catch(unreachable);
    const answer = decode(body, length);
    answer.milliseconds = { round_trip: performance.now() - begun, ...answer.milliseconds };
    return answer;
  }

  async #request(path, options) {
    for (;;) {
      const token = this.#token;
      const headers = { ...options.headers };
      if (token) headers.authorization = `Bearer ${token}`;
      const sent = fetch(path, { ...options, headers, cache: 'no-store' });
      const response = await sent.catch(unreachable);
      if (response.ok) return response;
      const refusal = await readRefusal(response);
      if (refusal.status !== 401) throw refusal;
      // Others may have been refused with the same token; it is asked for once.
      if (token === this.#token && !(await this.#authorise(token !== ''))) throw refusal;
    }
  }

  async #authorise(refused) {
    this.#asking ??= this.#askToken(refused).finally(() => { this.#asking = null; });
    const token = await this.#asking;
    if (token === null) return false;
    this.#token = token;
    return true;
  }
}

function address(name) {
  return `v2/models/${encodeURIComponent(name)}`;
}

function unreachable() {
  throw new Refusal(0, '');
}

async function readRefusal(response) {
  let reason = '';
  if (response.headers.get('content-type')?.startsWith(JSON_TYPE)) {
    reason = String((await response.json().catch(() => ({}))).error ?? '');
  }
  if (!PASSING.includes(response.status)) return new Refusal(response.status, reason);
  const seconds = Number.parseFloat(response.headers.get('retry-after') ?? '');
  return new Refusal(response.status, reason, seconds > 0 ? seconds : 1);
}

function encode(file) {
  const outputs = [
    ...NUMBERS.map((name) => ({ name })),
    ...BINARY.map((name) => ({ name, parameters: { binary_data: true } })),
  ];
  const tensor = {
    name: 'image',
    datatype: 'BYTES',
    shape: [1],
    parameters: { binary_data_size: LENGTH_BYTES + file.size },
  };
  const header = new TextEncoder().encode(JSON.stringify({ inputs: [tensor], outputs }));
  const prefix = new DataView(new ArrayBuffer(LENGTH_BYTES));
  prefix.setUint32(0, file.size, true);
  return [new Blob([header, prefix, file]), header.length];
}

function decode(buffer, headerLength) {
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 0, headerLength)));
  const found = {};
  let offset = headerLength;
  for (const output of header.outputs) {
    const size = output.parameters?.binary_data_size;
    found[output.name] = { shape: output.shape, data: output.data };
    if (size === undefined) continue;
    found[output.name].data = buffer.slice(offset, offset + size);
    offset += size;
  }
  const milliseconds = Object.entries(header.parameters ?? {})
    .filter(([key]) => key.endsWith('_ms'))
    .map(([key, value]) => [key.slice(0, -3), value]);
  return {
    name: header.model_name,
    version: header.model_version,
    probabilities: found.probabilities.data,
    label: found.label.data[0],
    confidence: found.confidence.data[0],
    risk: found.risk.data[0],
    display: new Blob([found.display.data.slice(LENGTH_BYTES)], { type: 'image/png' }),
    maps: splitMaps(found.cams),
    milliseconds: Object.fromEntries(milliseconds),
  };
}

function splitMaps({ shape, data }) {
  const [, classes, height, width] = shape;
  const values = new Float32Array(data);
  const size = width * height;
  return Array.from({ length: classes }, (_, k) => (
    { width, height, values: values.subarray(k * size, (k + 1) * size) }
  ));
}

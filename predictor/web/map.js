// A class activation map laid over its image: what model/overlay.py draws, to the pixel (a test
// compares the two), so that opacity and class can be changed without asking the server again.

const ANCHORS = [[255, 225, 80], [255, 190, 40], [250, 120, 20], [225, 40, 30], [160, 0, 50]];
const FAINT = 0.15;
const RAMP = 0.45;
const CUBIC = -0.5;
const COLOURS = Array.from({ length: 256 }, (_, level) => colour(level / 255));

export const DEFAULT_OPACITY = 0.6;

/** Scale a map {width, height, values} to the image: strengths in 0..1, row by row. */
export function upsample(map, width, height) {
  const peak = strongest(map);
  const unit = Float32Array.from(map.values, (value) => (peak > 0 ? value / peak : 0));
  const wide = resample(unit, map.width, map.height, width);
  const tall = resample(transpose(wide, width, map.height), map.height, width, height);
  return transpose(tall, height, width).map((value) => Math.min(Math.max(value, 0), 1));
}

/** The largest value of a map; 0 means that it shows nothing. */
export function strongest(map) {
  return map.values.reduce((a, b) => Math.max(a, b), 0);
}

/** Colour a copy of the picture (ImageData) where `strengths` are more than faint. */
export function blend(picture, strengths, opacity) {
  const pixels = new Uint8ClampedArray(picture.data);
  const weights = Array.from({ length: 256 }, (_, level) => weight(level / 255, opacity));
  for (let i = 0; i < strengths.length; i += 1) {
    const level = Math.round(strengths[i] * 255);
    if (weights[level] === 0) continue;
    for (let channel = 0; channel < 3; channel += 1) {
      const at = 4 * i + channel;
      pixels[at] = mix(pixels[at], COLOURS[level][channel], weights[level]);
    }
  }
  return new ImageData(pixels, picture.width, picture.height);
}

/** Draw the colours from faint to strong, left to right. */
export function drawScale(canvas) {
  const context = canvas.getContext('2d');
  for (let x = 0; x < canvas.width; x += 1) {
    const level = FAINT + (1 - FAINT) * (x / (canvas.width - 1));
    context.fillStyle = `rgb(${COLOURS[Math.round(level * 255)].join(' ')})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

function colour(level) {
  const position = level * (ANCHORS.length - 1);
  const below = Math.min(Math.floor(position), ANCHORS.length - 2);
  const part = position - below;
  return ANCHORS[below].map((value, i) =>
    Math.round(value + (ANCHORS[below + 1][i] - value) * part),
  );
}

function weight(strength, opacity) {
  return Math.round(255 * opacity * Math.min(Math.max((strength - FAINT) / RAMP, 0), 1));
}

// (below * (255 - weight) + above * weight) / 255, rounded, in whole numbers as Pillow does it.
function mix(below, above, weight) {
  const sum = below * (255 - weight) + above * weight + 128;
  return ((sum >> 8) + sum) >> 8;
}

// Pillow's bicubic resize of rows: the weights are cut off at the border and sum to 1.
function resample(values, width, height, newWidth) {
  const scale = width / newWidth;
  const spread = Math.max(scale, 1);
  const result = new Float32Array(newWidth * height);
  for (let x = 0; x < newWidth; x += 1) {
    const centre = (x + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - 2 * spread + 0.5), 0);
    const end = Math.min(Math.trunc(centre + 2 * spread + 0.5), width);
    const weights = [];
    for (let i = first; i < end; i += 1) weights.push(cubic((i + 0.5 - centre) / spread));
    const total = weights.reduce((a, b) => a + b, 0);
    for (let y = 0; y < height; y += 1) {
      let sum = 0;
      for (let i = first; i < end; i += 1) sum += values[y * width + i] * weights[i - first];
      result[y * newWidth + x] = sum / total;
    }
  }
  return result;
}

function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * CUBIC;
  return 0;
}

function transpose(values, width, height) {
  const result = new Float32Array(values.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) result[x * height + y] = values[y * width + x];
  }
  return result;
}

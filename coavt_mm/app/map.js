// The map of clips: a canvas that pointer and keys move in. `element`, `props`,
// `trigger` and `watch` are Gradio's.
const canvas = () => element.querySelector('canvas');
let points = {ids: [], names: [], x: [], y: [], shade: null, legend: ''};
let view = {scale: 1, x: 0.5, y: 0.5};  // the middle of what is shown
let chosen = -1, hover = -1, drag = null;
const MARGIN = 18, REACH = 18;

const size = () => {
  const box = canvas().getBoundingClientRect();
  return [box.width, box.height];
};
const place = i => {
  const [width, height] = size();
  return [
    width / 2 + (points.x[i] - view.x) * view.scale * (width - 2 * MARGIN),
    height / 2 - (points.y[i] - view.y) * view.scale * (height - 2 * MARGIN),
  ];
};
const nearest = (x, y) => {
  let best = -1, least = REACH * REACH;
  for (let i = 0; i < points.ids.length; i++) {
    const [a, b] = place(i), far = (a - x) ** 2 + (b - y) ** 2;
    if (far < least) { least = far; best = i; }
  }
  return best;
};
const colour = (share, dark) => {
  const from = dark ? [71, 85, 105] : [176, 190, 208], to = dark ? [251, 191, 36] : [213, 94, 0];
  return `rgb(${from.map((c, k) => Math.round(c + share * (to[k] - c))).join(',')})`;
};

function draw() {
  const field = canvas();
  if (!field || !field.offsetParent) return;
  const [width, height] = size(), ratio = window.devicePixelRatio || 1;
  field.width = width * ratio; field.height = height * ratio;
  const pen = field.getContext('2d');
  pen.scale(ratio, ratio);
  field.dataset.points = points.ids.length;
  const dark = !!document.querySelector('.dark');
  const radius = points.ids.length > 2000 ? 2.5 : points.ids.length > 400 ? 4 : 5.5;
  const order = points.ids.map((_, i) => i);
  if (points.shade) order.sort((a, b) => points.shade[a] - points.shade[b]);
  for (const i of order) {
    const [x, y] = place(i);
    if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
    const share = points.shade ? points.shade[i] : 0;
    pen.beginPath();
    pen.arc(x, y, radius * (1 + 0.4 * share), 0, 7);
    pen.fillStyle = points.shade ? colour(share, dark) : (dark ? '#56b4e9' : '#0072b2');
    pen.fill();
  }
  for (const [i, wide] of [[hover, 2], [chosen, 3]]) {
    if (i < 0 || i >= points.ids.length) continue;
    const [x, y] = place(i);
    pen.beginPath();
    pen.arc(x, y, radius + 5, 0, 7);
    pen.strokeStyle = dark ? '#f8fafc' : '#0f172a';
    pen.lineWidth = wide;
    pen.stroke();
  }
  if (hover >= 0) label(pen, hover, width, dark);
}

function label(pen, i, width, dark) {
  const [x, y] = place(i), name = points.names[i];
  pen.font = '13px system-ui, sans-serif';
  const wide = Math.min(pen.measureText(name).width + 12, width - 8);
  const left = Math.min(Math.max(x - wide / 2, 4), width - wide - 4), top = y > 40 ? y - 36 : y + 14;
  pen.fillStyle = dark ? '#f8fafc' : '#0f172a';
  pen.fillRect(left, top, wide, 22);
  pen.fillStyle = dark ? '#0f172a' : '#f8fafc';
  pen.fillText(name, left + 6, top + 15, wide - 12);
}

// The chosen clip beside the map: it plays, and its name opens its page.
function choose(i) {
  if (i < 0) return;
  chosen = i;
  const [x, y] = place(i), [width, height] = size();
  if (x < 0 || y < 0 || x > width || y > height) { view.x = points.x[i]; view.y = points.y[i]; }
  const card = element.querySelector('.chosen'), id = Number(points.ids[i]);
  card.dataset.clip = id;
  card.replaceChildren();
  const media = document.createElement('div'), about = document.createElement('div');
  media.className = 'media'; about.className = 'about';
  const kind = points.kinds[id] || 'video', player = document.createElement(kind);
  Object.assign(player, kind === 'img' ? {alt: points.names[i]}
    : {controls: true, preload: 'metadata', playsInline: true});
  player.src = `clip/${id}${kind === 'video' ? '#t=0.01' : ''}`;
  player.setAttribute('aria-label', points.names[i]);
  const button = document.createElement('button');
  Object.assign(button, {type: 'button', className: 'open', textContent: points.names[i]});
  button.dataset.open = id;
  media.append(player); about.append(button); card.append(media, about);
  draw();
}
const open = i => { if (i >= 0) trigger('click', {clip: Number(points.ids[i]), start: 0}); };

function step(dx, dy) {
  if (!points.ids.length) return;
  if (chosen < 0) {  // the one in the middle
    const [width, height] = size();
    let best = 0, least = Infinity;
    points.ids.forEach((_, i) => {
      const [a, b] = place(i), far = (a - width / 2) ** 2 + (b - height / 2) ** 2;
      if (far < least) { least = far; best = i; }
    });
    return choose(best);
  }
  const [x, y] = place(chosen);
  let best = -1, least = Infinity;
  for (let i = 0; i < points.ids.length; i++) {
    const [a, b] = place(i), along = (a - x) * dx + (b - y) * dy;
    const aside = Math.abs((a - x) * dy) + Math.abs((b - y) * dx);
    if (i === chosen || along <= 0.5 || aside > 2 * along) continue;
    const far = along + 2 * aside;
    if (far < least) { least = far; best = i; }
  }
  choose(best);
}

function zoom(factor, x, y) {
  if (!factor) view = {scale: 1, x: 0.5, y: 0.5};
  else {
    const [width, height] = size(), before = view.scale;
    view.scale = Math.min(Math.max(before * factor, 1), 60);
    const share = 1 / before - 1 / view.scale;
    view.x += ((x ?? width / 2) - width / 2) / (width - 2 * MARGIN) * share;
    view.y -= ((y ?? height / 2) - height / 2) / (height - 2 * MARGIN) * share;
  }
  draw();
}

const at = event => {
  const box = canvas().getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const isField = event => event.target === canvas();

element.addEventListener('pointerdown', event => {
  if (isField(event)) drag = {at: at(event), view: {...view}, moved: false};
});
element.addEventListener('pointermove', event => {
  if (!isField(event)) return;
  const [x, y] = at(event);
  if (drag && event.buttons && event.pointerType !== 'touch') {
    const [width, height] = size(), dx = x - drag.at[0], dy = y - drag.at[1];
    if (Math.hypot(dx, dy) > 4) drag.moved = true;
    if (drag.moved) {
      view.x = drag.view.x - dx / view.scale / (width - 2 * MARGIN);
      view.y = drag.view.y + dy / view.scale / (height - 2 * MARGIN);
      return draw();
    }
  }
  const found = nearest(x, y);
  canvas().style.cursor = found >= 0 ? 'pointer' : 'grab';
  if (found !== hover) { hover = found; draw(); }
});
element.addEventListener('pointerleave', () => { hover = -1; drag = null; draw(); });
element.addEventListener('click', event => {
  const button = event.target.closest('[data-open]');
  if (button) return open(points.ids.indexOf(+button.dataset.open));
  const closer = event.target.closest('[data-zoom]');
  if (closer) return zoom(+closer.dataset.zoom);
  if (!isField(event)) return;
  const moved = drag && drag.moved;
  drag = null;
  if (!moved) choose(nearest(...at(event)));
});
element.addEventListener('dblclick', event => { if (isField(event)) open(nearest(...at(event))); });
element.addEventListener('wheel', event => {
  if (!isField(event) || !(event.ctrlKey || document.activeElement === canvas())) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 300), ...at(event));
}, {passive: false});
element.addEventListener('keydown', event => {
  if (!isField(event)) return;
  const ways = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  const factors = {'+': 1.5, '=': 1.5, '-': 1 / 1.5, '0': 0};
  if (event.key in ways) step(...ways[event.key]);
  else if (event.key in factors) zoom(factors[event.key]);
  else if (event.key === 'Enter') open(chosen);
  else return;
  event.preventDefault();
});

function take() {
  points = {ids: [], names: [], x: [], y: [], shade: null, kinds: {}, legend: '', ...props.value};
  hover = -1;
  if (chosen >= points.ids.length) chosen = -1;
  const part = points.all > points.ids.length ? ` ${points.ids.length} of ${points.all} clips, drawn by chance.` : '';
  element.querySelector('.legend').textContent = (points.legend || '') + part;
  requestAnimationFrame(draw);
}
watch('value', take);
new ResizeObserver(draw).observe(element);
new MutationObserver(draw).observe(document.body, {attributes: true, attributeFilter: ['class']});
take();

// SPDX-License-Identifier: Apache-2.0
// The dashboard of hyperhost: reads /api/v1/stream and shows what it says. No dependencies. The
// stream is read with fetch, not EventSource, since only fetch can send a bearer token.
'use strict';

const byId = (id) => document.getElementById(id);
const tasks = new Map();   // task_id -> the newest object of the API
const views = new Map();   // task_id -> its elements
const rates = new Map();   // task_id -> its last rates, for the sparkline
const throughput = [];     // [milliseconds, bytes per second]
const WINDOW = 300e3;
const FINAL = new Set(['completed', 'failed', 'cancelled', 'skipped']);
let run = null;            // the newest object of the API about the run as a whole
let live = false;          // what is shown is what is
let lastEventId = '';
let token = sessionStorage.getItem('hyperhost-token') || '';
let drawPending = false;

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; i++) n /= 1024;  // three digits, as the programs print
  return n.toFixed(i === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2) + ' ' + units[i];
}
const rate = (n) => (n > 0 ? bytes(n) + '/s' : '–');
function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const s = Math.max(0, Math.round(seconds));
  const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  if (h > 0) return `${h} h ${m} min`;
  return m > 0 ? `${m} min ${s % 60} s` : `${s} s`;
}
const elapsed = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
/** Makes `list` hold one child per item, reusing those it has. */
function fill(list, items, create, update) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  items.forEach((item, i) => {
    if (!list.children[i]) list.append(create());
    update(list.children[i], item);
  });
}

function drawLine(svg, values, width, height, filled) {
  const ns = 'http://www.w3.org/2000/svg';
  const peak = Math.max(1, ...values.map(([, y]) => y));
  const points = values.map(([x, y]) =>
    `${(x * width).toFixed(1)},${(height - 2 - (y / peak) * (height - 4)).toFixed(1)}`);
  let line = svg.querySelector('polyline');
  if (!line) {
    line = document.createElementNS(ns, 'polyline');
    if (filled) svg.append(document.createElementNS(ns, 'polygon'));
    svg.append(line);
  }
  line.setAttribute('points', points.join(' '));
  const area = svg.querySelector('polygon');
  if (area && values.length > 1) {
    const x0 = values[0][0] * width, x1 = values[values.length - 1][0] * width;
    area.setAttribute('points', `${x0},${height} ${points.join(' ')} ${x1},${height}`);
  }
}

function drawDetails(view, task) {
  const part = (selector) => view.querySelector(selector);
  const error = part('.error');
  error.hidden = !task.error;
  setText(error, task.error || '');
  const begun = new Map(task.stages.map((stage) => [stage.stage, stage]));
  const stages = [...new Set([...task.metadata.planned_stages, ...begun.keys()])];
  fill(part('.stages'), stages, () => {
    const item = make('li');
    item.append(make('strong'), make('span'));
    return item;
  }, (item, name) => {
    const stage = begun.get(name);
    item.dataset.state = stage ? stage.status : 'waiting';
    setText(item.children[0], name[0].toUpperCase() + name.slice(1));
    let text = 'waiting';
    if (stage && stage.status === 'running')
      text = `${stage.percentage.toFixed(1)} % · ${bytes(stage.bytes_done)} · ${rate(stage.rate)}`;
    else if (stage)
      text = `${stage.status} in ${duration(elapsed(stage.start_time, stage.end_time))}` +
        ` · ${bytes(stage.bytes_done)}`;
    if (stage && stage.message) text += ` · ${stage.message}`;
    setText(item.children[1], text);
  });
  fill(part('.disks'), task.disks, () => {
    const item = make('li'), bar = make('progress');
    bar.max = 100;
    item.append(make('strong'), bar, make('span'));
    return item;
  }, (item, disk) => {
    item.dataset.status = disk.status;
    setText(item.children[0], `${disk.id} (${disk.stage})`);
    item.children[1].value = disk.percentage;
    item.children[1].setAttribute('aria-label', `${disk.id} ${disk.stage}`);
    const total = disk.bytes_total ? ` of ${bytes(disk.bytes_total)}` : '';
    const pace = disk.status === 'running' ? ` · ${rate(disk.rate)}` : ` · ${disk.status}`;
    setText(item.children[2], `${bytes(disk.bytes_done)}${total}${pace}`);
  });
  part('.warnings-part').hidden = task.warnings.length === 0;
  fill(part('.warnings'), task.warnings, () => make('li'), setText);
  const meta = task.metadata;
  const about = [['Task', task.task_id], ['Provider', `${meta.provider_name} (${task.provider})`],
    ['Converter', `${meta.converter} → ${meta.target_format}`], ['Started', task.start_time],
    ['Guest data', bytes(meta.guest_bytes)], ['Average rate', rate(task.average_rate)]];
  if (task.end_time) about.push(['Took', duration(elapsed(task.start_time, task.end_time))]);
  if (meta.retries) about.push(['Retries', String(meta.retries)]);
  if (meta.manifest_path) about.push(['Manifest', meta.manifest_path]);
  const list = part('.about');
  const wanted = about.map((row) => row.join('\n')).join('\n\n');
  if (list.dataset.shown !== wanted) {
    list.dataset.shown = wanted;
    list.replaceChildren(...about.flatMap(([name, value]) => {
      const dd = make('dd', '', name === 'Manifest' ? undefined : value);
      if (name === 'Manifest') dd.append(manifestLink(task.task_id, value));
      return [make('dt', '', name), dd];
    }));
  }
}

function manifestLink(taskId, path) {
  const link = make('a', 'manifest', path);
  link.href = `api/v1/manifest/${encodeURIComponent(taskId)}`;
  link.addEventListener('click', async (event) => {
    if (!token) return;  // the browser may follow the link itself
    event.preventDefault();
    const answer = await fetch(link.href, { headers: headers() });
    const url = URL.createObjectURL(await answer.blob());
    const download = make('a');
    download.href = url;
    download.download = 'manifest.json';
    download.click();
    URL.revokeObjectURL(url);
  });
  return link;
}

function drawTask(id) {
  const task = tasks.get(id);
  let view = views.get(id);
  if (!view) {
    view = byId('task-template').content.firstElementChild.cloneNode(true);
    view.dataset.task = id;
    view.querySelector('details').addEventListener('toggle', () => drawTask(id));
    views.set(id, view);
    // By name, so that machines stand where one looks for them.
    const after = [...byId('tasks').children].find((other) => tasks.get(other.dataset.task).vm_name
      .localeCompare(task.vm_name, undefined, { numeric: true }) > 0);
    byId('tasks').insertBefore(view, after || null);
  }
  const part = (selector) => view.querySelector(selector);
  view.dataset.status = task.status;
  setText(part('.name'), task.vm_name);
  setText(part('.status'), task.status);
  const bar = part('progress');
  bar.value = task.percentage;
  bar.setAttribute('aria-label', `Progress of ${task.vm_name}`);
  setText(part('.percent'), `${task.percentage.toFixed(1)} %`);
  const done = FINAL.has(task.status);
  setText(part('.rate'), rate(done ? task.average_rate : live ? task.rate : 0));
  const waits = task.waiting ? task.waiting.text : '';
  setText(part('.eta'), done ? '' : waits || (live ? `${duration(task.eta)} left` : ''));
  const history = rates.get(id) || [];
  drawLine(part('.spark'), history.map((y, i) => [i / 59, y]), 100, 24, false);
  if (part('details').open) drawDetails(view, task);
}

function timeLeft(run) {
  if (run.eta === null) return '–';
  if (run.eta_high <= run.eta_low * 1.25 + 1) return duration(run.eta);
  return `${duration(run.eta_low)} to ${duration(run.eta_high)}`;
}
function drawRun() {
  byId('run').hidden = !run;
  if (!run) return;
  const ended = run.end_time ? `, ended ${run.end_time}` : '';
  setText(byId('run'), `${run.plan} · run ${run.run_id} · on ${run.host} by ${run.user} · ` +
    `started ${run.start_time}${ended}`);
  byId('run').title = run.run_id;
}
function drawTotals() {
  drawRun();
  byId('empty').hidden = tasks.size > 0;
  if (!run) return;
  for (const [id, state] of [['running', 'running'], ['waiting', 'waiting'], ['completed', 'completed'],
    ['skipped', 'skipped']]) setText(byId(`total-${id}`), String(run.counts[state]));
  setText(byId('total-failed'), String(run.counts.failed + run.counts.cancelled));
  const going = live && !run.end_time;
  const size = bytes(run.move_bytes);
  setText(byId('total-done'), run.percentage === null
    ? `at least ${size}` : `${run.percentage.toFixed(1)} % of ${size}`);
  setText(byId('total-rate'), rate(currentRate()));
  setText(byId('total-eta'), going ? timeLeft(run) : '–');
  byId('limits').hidden = !going || run.limits.length === 0;
  setText(byId('limits'), `Slowed down by ${run.limits.join(', ')}`);
}
function currentRate() {
  return live && run && !run.end_time ? run.rate : 0;
}
/** Another run answers here now: what was shown of the one before goes. */
function receiveRun(newest) {
  if (run && run.run_id !== newest.run_id) {
    for (const all of [tasks, views, rates]) all.clear();
    changed.clear();
    throughput.length = 0;
    byId('tasks').replaceChildren();
  }
  run = newest;
  if (run.end_time) connection('ended', endText(run));
  else if (!live) connection('live', 'Live');
  drawSoon();
}
function endText(run) {
  const lost = run.counts.failed + run.counts.cancelled + run.counts.skipped;
  return lost ? `The run has ended: ${lost} of ${run.counts.total} VMs not migrated`
    : 'The run has ended well';
}

const changed = new Set();
function draw() {
  drawPending = false;
  for (const id of changed) drawTask(id);
  changed.clear();
  drawTotals();
}
function drawSoon() {
  if (drawPending) return;
  drawPending = true;
  requestAnimationFrame(draw);
}

function receive(task) {
  if (run && run.run_id && task.metadata.run_id !== run.run_id) return;  // of an earlier run
  const before = tasks.get(task.task_id);
  tasks.set(task.task_id, task);
  if (before && before.status !== task.status && FINAL.has(task.status))
    setText(byId('announce'), `${task.vm_name}: ${task.status}`);
  changed.add(task.task_id);
  drawSoon();
}

setInterval(() => {  // once a second, so that time on the axis is time
  const now = Date.now();
  throughput.push([now, currentRate()]);
  while (throughput.length && throughput[0][0] < now - WINDOW) throughput.shift();
  const shown = Math.max(30e3, now - throughput[0][0]);
  setText(byId('throughput-span'), duration(shown / 1000));
  drawLine(byId('throughput'), throughput.map(([t, y]) => [1 - (now - t) / shown, y]), 600, 80, true);
  setText(byId('throughput-peak'), rate(Math.max(0, ...throughput.map(([, y]) => y))));
  for (const [id, task] of tasks) {
    if (FINAL.has(task.status) || task.status === 'pending') continue;
    const history = rates.get(id) || [];
    history.push(live ? task.rate : 0);
    if (history.length > 60) history.shift();
    rates.set(id, history);
    changed.add(id);
  }
  if (changed.size) drawSoon();
}, 1000);

function connection(state, text) {
  live = state === 'live';
  byId('connection').dataset.state = state;
  setText(byId('connection'), text);
}
function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** One event: the lines between two empty ones. */
function handleEvent(text) {
  let data = '', type = 'message';
  for (const line of text.split('\n')) {
    if (line.startsWith('data: ')) data += line.slice(6);
    else if (line.startsWith('event: ')) type = line.slice(7);
    else if (line.startsWith('id: ')) lastEventId = line.slice(4);
  }
  if (type === 'run' && data) receiveRun(JSON.parse(data));
  if (type === 'progress' && data) receive(JSON.parse(data));
}

async function readStream() {
  const extra = lastEventId ? { 'Last-Event-ID': lastEventId } : {};
  const answer = await fetch('api/v1/stream?named', { headers: { ...headers(), ...extra }, cache: 'no-store' });
  if (answer.status === 401) {
    byId('token-form').hidden = false;
    setText(byId('token-error'), token ? 'That token was not accepted.' : '');
    byId('token').focus();
    return false;
  }
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  byId('token-form').hidden = true;
  if (!run || !run.end_time) connection('live', 'Live');
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  // Heartbeats come every 15 s; a connection silent for longer is dead.
  for (;;) {
    const watchdog = setTimeout(() => reader.cancel(), 45e3);
    const { value, done } = await reader.read();
    clearTimeout(watchdog);
    if (done) return true;
    pending += value;
    let end;
    while ((end = pending.indexOf('\n\n')) >= 0) {
      handleEvent(pending.slice(0, end));
      pending = pending.slice(end + 2);
    }
  }
}

async function follow() {
  for (let wait = 1000; ; wait = Math.min(wait * 2, 15e3)) {
    try {
      if (!(await readStream())) return;  // the token form calls follow() again
      wait = 500;
    } catch {
      // The server is away; shown below.
    }
    // A server goes with its run. One that goes before the run's end was lost.
    if (run && run.end_time) connection('ended', endText(run));
    else if (byId('connection').dataset.state !== 'lost')
      connection('lost', `Connection lost at ${new Date().toLocaleTimeString()}; this is what was known then. Trying again…`);
    for (const id of tasks.keys()) changed.add(id);
    drawSoon();
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

byId('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token = byId('token').value.trim();
  sessionStorage.setItem('hyperhost-token', token);
  follow();
});
follow();

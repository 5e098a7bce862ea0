'use strict';

/* Two of the panels lie over each other; a divider tells how much of the left one is seen. */
function enliven(compare) {
  const stage = compare.querySelector('.stage');
  const divider = compare.querySelector('.divider');
  const panels = [...compare.querySelectorAll('.panel')];
  const sides = ['left', 'right'];

  const radios = (side) => [...compare.querySelectorAll(`.sides [data-side="${side}"]`)];
  const chosen = (side) => radios(side).find((radio) => radio.checked).value;
  const title = (method) => panels.find((panel) => panel.dataset.method === method).dataset.title;

  function show() {
    const [left, right] = sides.map(chosen);
    for (const panel of panels) {
      panel.classList.toggle('left', panel.dataset.method === left && left !== right);
      panel.classList.toggle('right', panel.dataset.method === right);
    }
    stage.style.setProperty('--at', `${divider.value}%`);
    divider.setAttribute('aria-valuetext', `${divider.value} % ${title(left)}, the rest ${title(right)}`);
    for (const [side, method] of [['left', left], ['right', right]]) {
      compare.querySelector(`.of-${side}`).textContent = title(method);
    }
  }

  function follow(event) {
    const box = stage.getBoundingClientRect();
    divider.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    show();
  }

  stage.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // neither selects nor drags a picture
    stage.setPointerCapture(event.pointerId);
    divider.focus({ preventScroll: true });
    follow(event);
  });
  stage.addEventListener('pointermove', (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  compare.addEventListener('input', show);
  compare.addEventListener('keydown', (event) => {
    const digit = /^Digit([1-9])$/.exec(event.code);
    if (!digit || event.ctrlKey || event.altKey || event.metaKey) return;
    const radio = radios(event.shiftKey ? 'left' : 'right')[digit[1] - 1];
    if (!radio) return;
    event.preventDefault();
    radio.checked = true;
    show();
  });
  compare.classList.add('live');
  show();
}

document.querySelectorAll('.compare').forEach(enliven);

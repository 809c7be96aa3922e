// Players, time lines and keys; the rest is Gradio's.
(() => {
  const playerNear = element => {
    const place = element.closest('.hit, .clip') || document.querySelector('.clip');
    return place && place.querySelector('video, audio');
  };
  const playFrom = (player, time) => {
    if (!player) return;
    player.dataset.begun = 'yes';
    player.currentTime = time;
    player.play().catch(() => {});
  };

  document.addEventListener('click', event => {
    const button = event.target.closest('[data-play]');
    if (button) playFrom(playerNear(button), +button.dataset.play);
    const line = event.target.closest('.line[data-whole]');
    if (line) {
      const box = line.querySelector('svg').getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      if (share >= 0 && share <= 1) playFrom(playerNear(line), share * line.dataset.whole);
    }
  });

  // A player shows the middle of its moment until it plays, which it does from the start.
  // One plays at a time.
  document.addEventListener('play', event => {
    const {dataset} = event.target;
    if (dataset.start && !dataset.begun) event.target.currentTime = +dataset.start;
    dataset.begun = 'yes';
    for (const other of document.querySelectorAll('.hit video, .hit audio, .clip video, .clip audio'))
      if (other !== event.target && other.closest('.media') !== event.target.closest('.media'))
        other.pause();
  }, true);

  // What a browser can't play says so; media events don't bubble.
  document.addEventListener('error', event => {
    const media = event.target.closest && event.target.closest('.media');
    if (!media || media.querySelector('.unplayable')) return;
    const note = document.createElement('p');
    note.className = 'unplayable';
    note.textContent = 'This browser can’t play this file.';
    media.append(note);
    // one that is gone, or has changed, is no fault of the browser
    fetch(event.target.currentSrc || event.target.src, {headers: {Range: 'bytes=0-0'}})
      .then(async answer => { if (answer.status === 404) note.textContent = await answer.text(); })
      .catch(() => {});
  }, true);

  // A slash goes to the words, as on many pages.
  document.addEventListener('keydown', event => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key !== '/' || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const words = document.querySelector('#words textarea, #words input');
    if (words && words.offsetParent) { event.preventDefault(); words.focus(); }
  });
})();

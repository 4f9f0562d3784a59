"use strict";
for (const card of document.querySelectorAll(".card[data-seconds]")) {
  const audio = card.querySelector("audio");
  if (!audio) continue;
  const cursor = card.querySelector(".cursor");
  const strip = card.querySelector(".strip");
  const figures = [...card.querySelectorAll("figure[data-second]")];
  const seconds = Number(card.dataset.seconds);
  const player = card.querySelector(".player");
  const button = player.querySelector("button");
  // Chromium sometimes leaves the buttons of its own player out while a large page loads.
  audio.controls = false;
  player.hidden = false;
  button.addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
  const show = () => {
    button.textContent = audio.paused ? "Play" : "Pause";
    player.querySelector(".clock").textContent = `${audio.currentTime.toFixed(1)} of ${seconds} s`;
    if (cursor) cursor.style.setProperty("--at", Math.min(audio.currentTime / seconds, 1));
    const past = figures.filter((figure) => Number(figure.dataset.second) <= audio.currentTime + 0.01);
    const now = past[past.length - 1];
    if (now && !now.classList.contains("now")) {
      figures.forEach((figure) => figure.classList.toggle("now", figure === now));
      const right = now.offsetLeft + now.offsetWidth - strip.offsetLeft;
      if (right > strip.scrollLeft + strip.clientWidth || now.offsetLeft - strip.offsetLeft < strip.scrollLeft)
        strip.scrollLeft = now.offsetLeft - strip.offsetLeft;
    }
    if (!audio.paused) requestAnimationFrame(show);
  };
  audio.addEventListener("play", () => {
    document.querySelectorAll("audio").forEach((other) => other !== audio && other.pause());
    show();
  });
  audio.addEventListener("pause", show);
  audio.addEventListener("seeked", show);
  show();
  figures.forEach((figure) =>
    figure.querySelector("button").addEventListener("click", () => {
      audio.currentTime = Number(figure.dataset.second);
      audio.play();
    }),
  );
}

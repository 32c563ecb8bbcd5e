// The script of the page: what a log viewer and lists that renew themselves need. Everything works without it.
"use strict";

// A list that renews itself, if it was asked to: it is taken from the same address, and never moves what somebody
// looks at.
{
  const said = document.getElementById("renewed");
  const list = document.getElementById("results");
  const pause = Number(said?.dataset.seconds) * 1000;
  let timer;

  const say = (text) => {
    if (said.textContent !== text) said.textContent = text; // A screen reader reads what is written anew.
  };

  const now = () => new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

  const isInUse = () => {
    const selected = document.getSelection();
    const isSelected = selected.rangeCount > 0 && !selected.isCollapsed && selected.getRangeAt(0).intersectsNode(list);
    return isSelected || list.contains(document.activeElement);
  };

  // The first row in sight keeps its place on the screen, however many rows come above it.
  const replace = (fresh) => {
    const row = window.scrollY > 0
      && [...list.querySelectorAll("tr[id]")].find((each) => each.getBoundingClientRect().bottom > 0);
    const top = row && row.getBoundingClientRect().top;
    list.replaceChildren(...fresh.childNodes);
    const same = row && document.getElementById(row.id);
    if (same) window.scrollBy(0, same.getBoundingClientRect().top - top);
  };

  const renew = async () => {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = answer.ok && page.getElementById("results");
    if (!fresh) say(`Not updated at ${now()}: the server answered something else. It is asked again.`);
    else if (isInUse()) say("Waits while something in the list is selected or in focus.");
    else {
      replace(fresh);
      say(`Updated ${now()}`);
    }
  };

  const renewAgain = async () => {
    clearTimeout(timer);
    if (document.hidden) return; // It goes on when somebody looks again.
    try {
      await renew();
    } catch {
      say(`Not updated at ${now()}: the server did not answer. It is asked again.`);
    }
    clearTimeout(timer);
    timer = setTimeout(renewAgain, pause);
  };

  if (said && list) {
    say(`Updates every ${said.dataset.seconds} seconds`);
    timer = setTimeout(renewAgain, pause);
    document.addEventListener("visibilitychange", renewAgain);
  }

  const choice = document.querySelector("input[name=renew]");
  choice?.addEventListener("change", () => choice.form.requestSubmit());
}

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

// The log of a run. The lines in sight are in the page, and no others: however long the log is, its server gives them
// as HTML, a block at a time. A browser cannot lay out what is higher than some 17 million pixels, so that the scroll
// bar of a longer log stands for its lines in proportion.
{
  const BLOCK = 64;
  const KEPT = 40; // blocks
  const HIGHEST = 8_000_000; // pixels
  const PAUSE = 40; // milliseconds in which somebody may scroll on
  const ASKED_AGAIN = 1_000; // milliseconds between two looks at a log that grows
  const MOST_FOUND = 500; // lines, before somebody asks for more

  const viewer = document.getElementById("viewer");
  const where = document.getElementById("log-where");

  const openLog = () => {
    const { url, as } = viewer.dataset;
    let { tag } = viewer.dataset;
    let total = Number(viewer.dataset.lines);
    let bytes = Number(viewer.dataset.bytes);
    let target = Number(viewer.dataset.target);
    let top = 0; // how many lines are above the upper edge, with a fraction
    let placed = 0; // where this script has put the scroll bar
    let saying, drawing, asking;
    const blocks = new Map(); // what is known, by number: rows, and of which state of the log they are
    const asked = new Map();

    const rows = viewer.querySelector(".rows");
    const height = rows.firstElementChild.getBoundingClientRect().height;
    const spacer = document.createElement("div");
    spacer.className = "spacer";

    const visible = () => viewer.clientHeight / height;
    const most = () => Math.max(0, total - visible());
    const range = () => spacer.offsetHeight - viewer.clientHeight;
    const isScaled = () => total * height > HIGHEST;
    const stretch = () => {
      spacer.style.height = `${Math.min(total * height, HIGHEST)}px`;
      viewer.style.setProperty("--digits", String(total).length);
    };

    const keep = (block, its) => {
      blocks.delete(block);
      blocks.set(block, { rows: its, tag, bytes, total });
      for (const [oldest] of blocks) if (blocks.size > KEPT) blocks.delete(oldest);
    };

    // Of a log that has grown, the line that was the last may have grown too.
    const isFresh = (block) => {
      const known = blocks.get(block);
      return known && known.tag === tag && (known.bytes === bytes || (block + 1) * BLOCK < known.total);
    };

    const waiting = (number) => {
      const row = document.createElement("div");
      const at = document.createElement("span");
      row.className = "row";
      row.id = `L${number}`;
      at.className = "at";
      at.textContent = number;
      row.append(at);
      return row;
    };

    const say = (text) => {
      clearTimeout(saying);
      saying = setTimeout(() => { where.textContent = text; }, 250); // not at each step of a movement
    };

    const draw = () => {
      top = Math.max(0, Math.min(top, most()));
      const first = Math.floor(top);
      const last = Math.min(total, Math.ceil(top + visible()));
      const shown = [];
      for (let at = first; at < last; at += 1) {
        const row = blocks.get(Math.floor(at / BLOCK))?.rows[at % BLOCK] ?? waiting(at + 1);
        row.classList.toggle("target", at + 1 === target);
        shown.push(row);
      }
      // Rows that stay are not touched, so that a selection or the focus in them stays.
      const staying = new Set(shown);
      for (const row of [...rows.children]) if (!staying.has(row)) row.remove();
      shown.forEach((row, at) => { if (rows.children[at] !== row) rows.insertBefore(row, rows.children[at] ?? null); });
      rows.style.transform = `translateY(${(first - top) * height}px)`;
      say(`Lines ${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${total.toLocaleString("en")}`);
      asking ??= setTimeout(askForMissing, PAUSE);
    };

    const drawSoon = () => {
      drawing ??= requestAnimationFrame(() => { drawing = undefined; draw(); });
    };

    const place = () => {
      viewer.scrollTop = most() ? (top / most()) * range() : 0;
      placed = viewer.scrollTop;
    };

    const move = (line) => {
      top = line;
      draw();
      place();
    };

    const go = (number, { isLink = true } = {}) => {
      target = Math.max(1, Math.min(number, total));
      move(target - 1 - visible() / 3);
      if (!isLink) return;
      const address = new URL(location.href);
      address.searchParams.set("line", target);
      address.hash = `L${target}`;
      history.replaceState(null, "", address);
    };

    const askForMissing = () => {
      asking = undefined;
      const first = Math.max(0, Math.floor(top / BLOCK));
      const last = Math.min(Math.floor((total - 1) / BLOCK), Math.floor((top + visible()) / BLOCK));
      for (const [block, aborter] of asked) {
        if (block >= first && block <= last) continue;
        aborter.abort();
        asked.delete(block);
      }
      for (let block = first; block <= last; block += 1) if (!isFresh(block) && !asked.has(block)) ask(block);
    };

    const ask = async (block) => {
      const aborter = new AbortController();
      const state = [tag, bytes];
      asked.set(block, aborter);
      try {
        const query = new URLSearchParams({ first: block * BLOCK + 1, count: BLOCK, ...(as && { as }) });
        const answer = await fetch(`${url}/lines?${query}`, { signal: aborter.signal });
        if (!answer.ok) throw new Error(answer.statusText);
        const isAnother = answer.headers.get("ETag") !== `"${tag}"`;
        if (isAnother && !isFollowing()) say("The log is another by now: reload the page.");
        if (!isAnother && state[0] === tag) {
          const template = document.createElement("template");
          template.innerHTML = await answer.text();
          keep(block, [...template.content.querySelectorAll(".row")]);
          if (state[1] !== bytes) blocks.get(block).bytes = state[1];
          drawSoon();
        }
      } catch (error) {
        if (error.name !== "AbortError") say("Some lines could not be read: scroll to try again.");
      } finally {
        if (asked.get(block) === aborter) asked.delete(block);
      }
    };

    const follow = document.querySelector("#log-follow input");
    const isFollowing = () => follow?.checked && !follow.disabled;

    const lookAgain = async () => {
      if (!follow.checked || document.hidden) return true;
      const answer = await fetch(`${url}/index`, { cache: "no-cache" });
      if (!answer.ok) throw new Error(answer.statusText);
      const state = await answer.json();
      const isAtEnd = top >= most() - 1;
      ({ tag, bytes, lines: total } = state);
      stretch();
      if (isAtEnd) top = most();
      move(top);
      if (!state.active) {
        const said = document.getElementById("log-state");
        const link = document.createElement("a");
        link.href = location.pathname;
        link.textContent = "Show how it ended";
        said.replaceChildren("The task has ended, and this is its whole log. ", link);
        follow.disabled = true;
      }
      return state.active;
    };

    const keepFollowing = async () => {
      let isActive = true;
      try {
        isActive = await lookAgain();
      } catch {
        say("The server does not answer. It is asked again.");
      }
      if (isActive) setTimeout(keepFollowing, ASKED_AGAIN);
    };

    [...rows.children].forEach((row, at, { length }) => {
      if (at % BLOCK) return;
      keep((Number(viewer.dataset.first) - 1 + at) / BLOCK, [...rows.children].slice(at, Math.min(at + BLOCK, length)));
    });
    viewer.replaceChildren(spacer);
    spacer.append(rows);
    viewer.classList.add("scripted");
    stretch();

    viewer.addEventListener("scroll", () => {
      if (Math.abs(viewer.scrollTop - placed) < 2) return;
      placed = viewer.scrollTop;
      top = range() > 0 ? (placed / range()) * most() : 0;
      drawSoon();
    }, { passive: true });

    viewer.addEventListener("wheel", (event) => {
      if (!isScaled() || !event.deltaY || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      top += event.deltaMode ? event.deltaY : event.deltaY / height;
      move(Math.max(0, Math.min(top, most())));
    }, { passive: false });

    viewer.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(visible()) - 1);
      const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, " ": event.shiftKey ? -page : page };
      if (event.ctrlKey || event.altKey || event.metaKey || event.target !== viewer) return;
      if (event.key in steps) move(top + steps[event.key]);
      else if (event.key === "Home") move(0);
      else if (event.key === "End") move(total);
      else return;
      event.preventDefault();
    });

    document.addEventListener("click", (event) => {
      const link = event.target.closest("#log a[data-line], #viewer a.at");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      if (link.id === "log-last") move(total);
      else go(Number(link.dataset.line ?? link.textContent));
    });

    const readHash = () => Number(/^#L(\d{1,15})$/.exec(location.hash)?.[1]);
    window.addEventListener("hashchange", () => { if (readHash()) go(readHash()); });
    new ResizeObserver(drawSoon).observe(viewer);
    if (readHash() || target) go(readHash() || target, { isLink: false });
    else move(total);
    if (follow) {
      follow.parentElement.hidden = false;
      follow.checked = true;
      setTimeout(keepFollowing, ASKED_AGAIN);
    }

    openSearch({ url, go, size: () => bytes });
  };

  // A search comes in steps: what is found is shown while it goes on, and it ends where somebody has seen enough.
  const openSearch = ({ url, go, size }) => {
    const form = document.getElementById("log-search");
    const field = document.getElementById("log-q");
    const found = document.getElementById("log-found");
    const said = document.getElementById("log-found-said");
    let search;

    const lines = (count) => `${count.toLocaleString("en")} ${count === 1 ? "line has" : "lines have"} it`;

    const button = (text, act) => {
      const given = document.createElement("button");
      given.type = "button";
      given.textContent = text;
      given.addEventListener("click", act);
      return given;
    };

    const find = async (state) => {
      const stop = button("Stop", () => search.abort());
      search?.abort();
      const aborter = search = new AbortController();
      const limit = state.count + MOST_FOUND;
      found.hidden = false;
      found.replaceChildren(said, state.list, stop);
      try {
        do {
          const done = Math.min(99, Math.floor((100 * state.read) / Math.max(1, size())));
          said.textContent = `${lines(state.count)}. ${done} % is searched …`;
          const query = new URLSearchParams({ q: state.text, ...(state.cursor && { cursor: state.cursor }) });
          const answer = await fetch(`${url}/search?${query}`, { signal: aborter.signal });
          if (!answer.ok) throw new Error(answer.status === 400 ? "This text cannot be searched for." : "");
          const template = document.createElement("template");
          template.innerHTML = await answer.text();
          const part = template.content.firstElementChild;
          const items = [...part.children];
          if (!state.count && items.length) go(Number(items[0].querySelector("a").dataset.line));
          state.list.append(...items);
          state.count += items.length;
          state.read = part.dataset.at ? Number(part.dataset.at) : state.read + Number(part.dataset.read);
          state.cursor = part.dataset.cursor;
          state.isUnreadable ||= Boolean(part.dataset.unreadable);
        } while (state.cursor && state.count < limit);
        said.textContent = state.cursor ? `${lines(state.count)} so far.` : `${lines(state.count)}.`;
        if (state.isUnreadable) said.textContent += " The log could not be read to its end.";
      } catch (error) {
        if (aborter !== search) return;
        said.textContent = error.name === "AbortError"
          ? `${lines(state.count)} so far. The search was stopped.`
          : error.message || "The search failed: try again.";
      }
      stop.remove();
      if (state.cursor) found.append(button("Find more", () => find(state)));
    };

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const list = document.createElement("ol");
      list.className = "found";
      if (field.value) find({ text: field.value, list, cursor: "", read: 0, count: 0, isUnreadable: false });
      else {
        search?.abort();
        found.hidden = true;
      }
    });

    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      field.focus();
      field.select();
    });
  };

  // A task that runs and has sent no log yet.
  const again = document.getElementById("log-again");
  const waitForLog = async () => {
    try {
      const answer = await fetch(`${again.href}/log/index`, { cache: "no-cache" });
      const state = answer.ok ? await answer.json() : { active: true, lines: 0 };
      if (state.lines || !state.active) location.reload();
      else setTimeout(waitForLog, ASKED_AGAIN);
    } catch {
      setTimeout(waitForLog, ASKED_AGAIN);
    }
  };

  if (viewer) openLog();
  if (again) setTimeout(waitForLog, ASKED_AGAIN);
}

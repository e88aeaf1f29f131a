// SPDX-License-Identifier: Apache-2.0
// Filters the list of cases, opens a case that a link leads to, and switches the theme. The page is whole without it.
(() => {
  const byId = (id) => document.getElementById(id);
  const list = [...document.querySelectorAll('#list > .case')];
  const filters = byId('filters');
  const words = byId('words');
  const area = byId('area');

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const statuses = new Set([...filters.querySelectorAll('input[name=status]:checked')].map((box) => box.value));
    let shown = 0;
    for (const one of list) {
      const text = one.dataset.words.toLowerCase();
      const visible =
        statuses.has(one.dataset.status) &&
        (area.value === '' || one.dataset.area === area.value) &&
        wanted.every((word) => text.includes(word));
      one.hidden = !visible;
      if (visible) shown++;
    }
    byId('shown').textContent = shown === list.length ? `${shown} cases` : `${shown} of ${list.length} cases`;
  };
  filters.addEventListener('input', filter);
  filters.addEventListener('submit', (event) => event.preventDefault());
  for (const link of document.querySelectorAll('a[data-area]')) {
    link.addEventListener('click', () => {
      area.value = link.dataset.area;
      filter();
    });
  }

  const openTarget = () => {
    const target = location.hash === '' ? null : byId(decodeURIComponent(location.hash.slice(1)));
    if (target?.matches('details.case')) {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView({ block: 'start' });
    }
  };
  addEventListener('hashchange', openTarget);

  byId('theme').addEventListener('click', () => {
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const now = document.documentElement.dataset.theme ?? (dark ? 'dark' : 'light');
    document.documentElement.dataset.theme = now === 'dark' ? 'light' : 'dark';
  });

  // Printed, every finding is open.
  addEventListener('beforeprint', () => {
    for (const one of document.querySelectorAll('#attention details')) one.open = true;
  });

  filter();
  openTarget();
})();

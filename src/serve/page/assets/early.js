// Runs before the first paint, so that a chosen theme or language does not flash another one.
(() => {
  let theme = null;
  let language = null;
  try {
    theme = localStorage.getItem("glmtune.theme");
    language = localStorage.getItem("glmtune.language");
  } catch {
    // A browser that refuses storage gets what it prefers itself.
  }
  const root = document.documentElement;
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const preferred = language ?? navigator.language ?? "en";
  root.lang = preferred.startsWith("zh") ? "zh-CN" : "en";
})();

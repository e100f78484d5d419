/** The login dialog, shown if the api requires a key. */

import { login } from "./api.js";
import { by } from "./dom.js";
import { t } from "./i18n.js";

/** Resolves after a login. */
export function loggedIn() {
  const [dialog, form, key, wrong] = [by("login"), by("loginForm"), by("key"), by("loginWrong")];
  wrong.textContent = "";
  dialog.oncancel = (/** @type {Event} */ event) => event.preventDefault();
  if (!dialog.open) dialog.showModal();
  key.focus();
  return new Promise((resolve) => {
    form.onsubmit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      wrong.textContent = await tried(key.value);
      key.setAttribute("aria-invalid", String(Boolean(wrong.textContent)));
      key.select();
      if (wrong.textContent) return;
      key.value = "";
      dialog.close();
      resolve(undefined);
    };
  });
}

/** The error text for a key; empty if the login succeeds. @param {string} key */
async function tried(key) {
  try {
    const answer = await login(key.trim());
    if (answer.ok) return "";
    if (answer.status === 429) return t("tooMany", { n: answer.headers.get("Retry-After") ?? "?" });
    return t(answer.status === 401 || answer.status === 422 ? "badKey" : "loginFailed");
  } catch {
    return t("away");
  }
}

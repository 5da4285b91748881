
// What all three pages do: send the token of the link when the button is pressed, and say what came of it. The token
// goes nowhere but into the body of that request. The texts are in the form's data-* attributes, by the answer's reason.
const token = new URLSearchParams(location.search).get("token");
const form = document.querySelector("form");
const button = form.querySelector("button");
const outcome = document.getElementById("outcome");

function say(text, kind) {
  outcome.textContent = text;
  outcome.className = kind;
}

// Nothing is left to do here. The focus goes to the text, as the button that had it is gone.
function end(text, kind) {
  form.remove();
  say(text, kind);
  outcome.focus();
}

function again(text, element) {
  say(text, "bad");
  element.focus();
}

// The answer's reason, or that it is done. What is not JSON is not from our server, whatever its status.
async function send() {
  const response = await fetch(form.action, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    signal: AbortSignal.timeout?.(20_000),
  });
  const answer = await response.json();
  return response.ok ? { reason: "DONE" } : answer;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  say("", "");
  const { reason = "", field_violations = [] } = await send().catch(() => ({}));
  button.disabled = false;

  const final = form.dataset[reason.toLowerCase()];
  const refused = field_violations.filter(({ field }) => form.elements[field]);
  if (final) {
    end(final, reason === "DONE" ? "good" : "bad");
  } else if (refused.length) {
    const why = refused.map(({ description }) => description).join("; ");
    again(`Not accepted: ${why}.`, form.elements[refused[0].field]);
  } else {
    again(`That did not work. ${reason ? "Please" : "Check your connection and"} try again in a moment.`, button);
  }
});

document.getElementById("show")?.addEventListener("change", ({ target }) => {
  form.elements.password.type = target.checked ? "text" : "password";
});

if (token) {
  form.hidden = false;
} else {
  end("This link is not complete. Open it from the e-mail once more, or copy the whole of it.", "bad");
}

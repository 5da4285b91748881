// An OpenID Connect provider on loopback: `oidc-provider`, which is certified, with a sign-in page of its simplest. Prints
// its issuer once it listens. Usage: node oidc.mjs CLIENT_ID CLIENT_SECRET REDIRECT_URI

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import Provider from "oidc-provider";

const [client_id, client_secret, redirect_uri] = process.argv.slice(2);

const server = createServer().listen(0, "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const provider = new Provider(issuer, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect_uri] }],
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["name"], email: ["email", "email_verified"] },
  // Whoever says an address has it.
  findAccount: (_, email) => ({
    accountId: email,
    claims: () => ({ sub: email, email, email_verified: true, name: "Ada Lovelace" }),
  }),
  jwks: { keys: [{ ...key, use: "sig" }] },
  cookies: { keys: [randomUUID()] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 600, IdToken: 60, Interaction: 600, Session: 600 },
});

const FORMS = {
  login: '<h1>Example</h1><label>E-mail address <input name="email"></label> <button>Continue</button>',
  consent: '<h1>Example</h1><button name="answer" value="allow">Allow</button> <button name="answer" value="cancel">Cancel</button>',
};

// The provider says what it wants of the person, one thing after the other; here they are asked.
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (request.method !== "POST") {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(`<!doctype html><title>Example</title><form method="post">${FORMS[prompt.name]}</form>`);
    return;
  }
  const said = new URLSearchParams(await text(request));
  let result = { error: "access_denied", error_description: "The person said no" };
  if (prompt.name === "login") {
    result = { login: { accountId: said.get("email") } };
  } else if (said.get("answer") === "allow") {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(prompt.details.missingOIDCScope.join(" "));
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(request, response, result);
}

const others = provider.callback();
server.on("request", (request, response) => {
  const handle = request.url.startsWith("/interaction/") ? interact : others;
  handle(request, response);
});
console.log(issuer);

// A page that signs up, signs in and asks whose credential it holds, over gRPC-web. The server's address is in the query:
// `?server=http://127.0.0.1:50051`. The server must list this page's origin in `server.cors_origins`.
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AuthService, CredentialStatus, PrincipalType } from "../gen/countersign/v1/auth_service_pb";

const server = new URLSearchParams(location.search).get("server") ?? "http://127.0.0.1:50051";
const auth = createClient(AuthService, createGrpcWebTransport({ baseUrl: server }));

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const form = element<HTMLFormElement>("credentials");

// A page keeps it in memory: what scripts can read from storage, any script can.
let accessToken = "";

async function enter(action: string, name: string, email: string, password: string) {
  const tokens = await (action === "sign-up" ? auth.register({ email, password, name }) : auth.login({ email, password }));
  accessToken = tokens.accessToken;
  await validate();
  return `Welcome, ${tokens.user?.name || tokens.user?.email}.`;
}

async function leave() {
  await auth.logout({}, { headers: { authorization: `Bearer ${accessToken}` } });
  await validate();
  return "Signed out. The token is still unexpired, and dead.";
}

// What another service does with a credential that it is handed.
async function validate() {
  const answer = await auth.validateCredential({ credential: accessToken });
  const { principal, expireTime } = answer;
  const rows: [string, string | undefined][] = [
    ["Kind", principal && PrincipalType[principal.type]],
    ["User", principal?.userId],
    ["Session", principal?.sessionId],
    ["Scopes", principal && (principal.scopes.join(" ") || "none")],
    ["Expires", expireTime && timestampDate(expireTime).toLocaleTimeString("en-GB")],
  ];
  element("principal").replaceChildren(
    ...rows.filter(([, value]) => value).flatMap(([term, value]) => [cell("dt", term), cell("dd", value!)]),
  );
  const valid = answer.status === CredentialStatus.VALID;
  element("status").textContent = CredentialStatus[answer.status];
  element("status").classList.toggle("valid", valid);
  element("sign-out").hidden = !valid;
  element("answer").hidden = false;
}

function cell(tag: "dt" | "dd", text: string) {
  const cell = document.createElement(tag);
  cell.textContent = text;
  return cell;
}

// Runs one action at a time and shows its message, or the server's error.
async function run(action: () => Promise<string>) {
  const buttons = document.querySelectorAll("button");
  const message = element("message");
  buttons.forEach((button) => (button.disabled = true));
  message.textContent = "";
  try {
    const text = await action();
    message.className = "";
    message.textContent = text;
  } catch (error) {
    message.className = "error";
    message.textContent = ConnectError.from(error).rawMessage;
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

element("page-origin").textContent = location.origin;
element("server-origin").textContent = server;
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const action = (event.submitter as HTMLButtonElement).value;
  const [name, email, password] = ["name", "email", "password"].map((key) => String(new FormData(form).get(key)));
  void run(() => enter(action, name!, email!, password!));
});
element("sign-out").addEventListener("click", () => void run(leave));

// An attached application in JavaScript (mqtt.js): receives uploads and messages, and answers each once it has done it.
//
//   npm install
//   IRSP_KEY=... node climate.js --host 127.0.0.1 --port 1883 --app climate [--group workers]
//
// What has been done is remembered in memory here; a real one keeps it with its data, as climate.py does. The contract is
// in docs/profile.md, "Attached applications".

const mqtt = require("mqtt");
const { parseArgs } = require("node:util");

const { values: words } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "1883" },
    app: { type: "string", default: "climate" },
    group: { type: "string" },
    v311: { type: "boolean", default: false },
  },
});
const own = `v1/app/${words.app}`;
const readings = new Map();
const done = new Map();

/** Does what the event asks, once, and gives the answer. */
function handle(event) {
  const known = done.get(event.id);
  if (known) return known;
  const answer = decide(event);
  done.set(event.id, answer);
  return answer;
}

function decide(event) {
  if (typeof event.data !== "number") {
    return { status: 400, body: { why: "a reading is a number" } };
  }
  const count = (readings.get(event.source) ?? 0) + 1;
  readings.set(event.source, count);
  return { status: 200, body: { readings: count } };
}

// Reconnects by itself; what was not answered comes again.
const client = mqtt.connect(`mqtt://${words.host}:${words.port}`, {
  protocolVersion: words.v311 ? 4 : 5,
  username: `app/${words.app}`,
  password: process.env.IRSP_KEY,
  reconnectPeriod: 500,
  resubscribe: false,
});

client.on("connect", () => {
  const share = words.group ? `$share/${words.group}/` : "";
  const filters = [`${share}${own}/in/upload/#`, `${share}${own}/in/message/#`];
  client.subscribe(filters, { qos: 1 }, (error, granted) => {
    const refused = error || granted.some(({ qos }) => qos >= 0x80);
    console.log(refused ? "refused" : "ready");
  });
});

client.on("message", (_topic, payload) => {
  const event = JSON.parse(payload);
  const answer = handle(event);
  client.publish(`${own}/ack/${event.id}`, JSON.stringify(answer), { qos: 1 });
  console.log(event.id, answer.status);
});

client.on("error", (error) => console.error(error.message));
process.on("SIGTERM", () => client.end());

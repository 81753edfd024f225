#!/usr/bin/env node
// Node-RED 5 as a peer of the benchmark: MQTT → function (reading to Observation) → SQLite outbox (WAL, FULL) → Bundles of
// 100 → POST → delete, ticking each 250 ms: what its users build by hand when nothing may be lost. Without alerts.
//
//   npm install node-red@5.0.7 node-red-node-sqlite@1.1.1     (Node 22)
//   NODE_PATH=…/node_modules node-red.cjs --db FILE --port BROKER-PORT --url URL
const http = require("http"), fs = require("fs"), path = require("path");
const RED = require("node-red");
const option = (name) => process.argv[process.argv.indexOf(name) + 1];
const userDir = path.dirname(option("--db"));

const node = (id, type, wires, more) => ({ id, type, z: "t", x: 100, y: 100, name: "", wires, ...more });
const code = (id, func, wires) =>
  node(id, "function", wires, { func, outputs: 1, timeout: 0, noerr: 0, initialize: "", finalize: "", libs: [] });
const sql = (id, sqlquery, wires) => node(id, "sqlite", wires, { mydb: "db", sqlquery, sql: "" });
const tick = (id, wires, more) =>
  node(id, "inject", wires, { props: [{ p: "topic", vt: "str" }], repeat: "", crontab: "", once: true, topic: "", ...more });

const flows = [
  { id: "t", type: "tab", label: "outbox" },
  { id: "br", type: "mqtt-broker", name: "", broker: "127.0.0.1", port: option("--port"), clientid: "nodered",
    autoConnect: true, usetls: false, protocolVersion: "4", keepalive: "60", cleansession: false, autoUnsubscribe: false },
  // The endpoint's certificate is made for the run.
  { id: "tls", type: "tls-config", name: "", cert: "", key: "", ca: "", verifyservercert: false, servername: "" },
  { id: "db", type: "sqlitedb", db: option("--db"), mode: "RWC" },
  node("in", "mqtt in", [["map"]], { topic: "devices/#", qos: "1", datatype: "utf8", broker: "br", nl: false, rap: true, rh: 0, inputs: 0 }),
  tick("boot", [["ddl"]], { onceDelay: 0.1 }),
  code("ddl", `return [[{topic:'PRAGMA journal_mode=WAL'},{topic:'PRAGMA synchronous=FULL'},
    {topic:'create table if not exists q(id integer primary key, body text not null)'}]];`, [["s0"]]),
  sql("s0", "msg.topic", [[]]),
  code("map", `const r = JSON.parse(msg.payload);
    const o = {resourceType:'Observation', status:r.status, identifier:[{system:'urn:gw:reading', value:r.device+'-'+r.seq}],
      category:[{coding:[{system:'http://terminology.hl7.org/CodeSystem/observation-category', code:'vital-signs'}]}],
      code:{coding:[{system:'http://loinc.org', code:r.code, display:r.display}], text:r.display}, subject:{reference:r.patient},
      effectiveDateTime:r.ts, valueQuantity:{value:r.value, unit:r.unit, system:'http://unitsofmeasure.org', code:r.ucum},
      device:{display:r.device}};
    return {topic:'insert into q(body) values($1)', payload:[JSON.stringify(o)]};`, [["s1"]]),
  sql("s1", "msg.topic", [[]]),
  tick("tick", [["ask"]], { repeat: "0.25", onceDelay: 1 }),
  code("ask", `if (flow.get('busy') > Date.now() - 15000) return null; flow.set('busy', Date.now());
    return {topic:'select id, body from q order by id limit 100'};`, [["s2"]]),
  sql("s2", "msg.topic", [["bundle"]]),
  code("bundle", `const r = msg.payload; if (!r || !r.length) { flow.set('busy', 0); return null; }
    const entry = r.map(x => '{"resource":' + x.body + ',"request":{"method":"POST","url":"Observation"}}').join(',');
    return {last: r[r.length-1].id, headers:{'content-type':'application/fhir+json'},
      payload: '{"resourceType":"Bundle","type":"batch","entry":[' + entry + ']}'};`, [["post"]]),
  node("post", "http request", [["done"]], { method: "POST", ret: "txt", paytoqs: "ignore", url: option("--url"), tls: "tls",
    persist: true, proxy: "", insecureHTTPParser: false, authType: "", senderr: false, headers: [] }),
  code("done", `if (msg.statusCode !== 200) { flow.set('busy', 0); return null; }
    return {topic:'delete from q where id<=$1', payload:[msg.last]};`, [["s3"]]),
  sql("s3", "msg.topic", [["next"]]),
  code("next", "flow.set('busy', 0); return {};", [["ask"]]),
];
fs.writeFileSync(path.join(userDir, "flows.json"), JSON.stringify(flows));
const nodesDir = process.env.NODE_PATH.split(":").map((p) => path.join(p, "node-red-node-sqlite"));
RED.init(http.createServer(), {
  userDir, nodesDir, flowFile: "flows.json", httpAdminRoot: false, httpNodeRoot: false, credentialSecret: false,
  telemetry: { enabled: false, updateNotification: false }, diagnostics: { enabled: false },
  logging: { console: { level: "warn", metrics: false, audit: false } }, editorTheme: { tours: false },
});
RED.start();

// node clients.mjs HOST PORT: what two Flight SQL clients read, as one JSON object.
import { FlightSQLClient } from "@gizmodata/gizmosql-client";
import { Client } from "@lancedb/arrow-flight-sql-client";

const [host, port] = process.argv.slice(2);
const select = "SELECT name, weight_kg, 'a'::ENUM('a', 'b') AS kind FROM birds ORDER BY name";
const rows = (table) => table.toArray().map((row) => row.toJSON());

async function gizmo() {
  const client = new FlightSQLClient({ host, port: Number(port), plaintext: true, username: "u", password: "p" });
  await client.execute("CREATE OR REPLACE TABLE from_gizmo (i INTEGER)");
  await client.execute("INSERT INTO from_gizmo VALUES (1), (2)");
  const answer = {
    birds: rows(await client.execute(select)),
    inserted: rows(await client.execute("FROM from_gizmo")),
    many: (await client.execute("SELECT i, 'row ' || i AS s FROM range(300000) t(i)")).numRows,
    catalogs: await client.getCatalogs(),
  };
  await client.close();
  return answer;
}

async function lance() {
  const client = await Client.connect({ host: `${host}:${port}`, username: "u", password: "p", insecure: true });
  const objects = async (sql) => (await client.query(sql)).collectToObjects();
  await objects("CREATE OR REPLACE TABLE from_lance (i INTEGER)");
  await objects("INSERT INTO from_lance VALUES (1), (2)");
  return {
    birds: await objects(select),
    inserted: await objects("FROM from_lance"),
    many: (await objects("SELECT i::INTEGER AS i, 'row ' || i AS s FROM range(300000) t(i)")).length,
  };
}

console.log(JSON.stringify({ gizmo: await gizmo(), lance: await lance() }));
process.exit(0);

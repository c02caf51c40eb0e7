// Two routes that need a scope, one that needs a credential alone, and one open
// to all. Settings come from the environment: AUTHORITY_URL,
// AUTHORITY_CREDENTIAL_FILE, AUTHORITY_CA_FILE (for https, where Node's own
// authorities are not meant), LISTEN.

import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";

import express from "express";

import { Introspector, subjectOf } from "./introspect.js";

const {
    AUTHORITY_URL: url = "http://127.0.0.1:50051",
    AUTHORITY_CREDENTIAL_FILE: credentialFile = "",
    AUTHORITY_CA_FILE: caFile,
    LISTEN: listen = "127.0.0.1:8000",
} = process.env;

const credential = readFileSync(credentialFile, "utf8").trim();
const introspector = new Introspector(url, credential, caFile ? readFileSync(caFile) : undefined);

const app = express();
app.disable("x-powered-by");

app.get("/healthz", (_request, response) => {
    response.json({ status: "ok" });
});

app.get("/api/v1/me", introspector.require(), (_request, response) => {
    const { accountId, tokenId, scopes } = subjectOf(response);
    response.json({ account: accountId, token: tokenId, scopes });
});

app.get("/api/v1/trades", introspector.require("trading:read"), (_request, response) => {
    response.json({ account: subjectOf(response).accountId, trades: [] });
});

// Who may call comes before what they send is read.
app.post("/api/v1/signals/ingest", introspector.require("signals:write"), express.json(), (request, response) => {
    response.json({ account: subjectOf(response).accountId, accepted: Object.keys(request.body ?? {}).length });
});

const separator = listen.lastIndexOf(":");
const server = app.listen(Number(listen.slice(separator + 1)), listen.slice(0, separator), (error) => {
    if (error) {
        throw error;
    }
    const { address, port } = server.address() as AddressInfo;
    console.log(`listening on ${address}:${port}`);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
        server.close();
        server.closeAllConnections();
        introspector.close();
    });
}

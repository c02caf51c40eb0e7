// Protects Express routes by asking token-authority on every request.
//
//     const introspector = new Introspector("http://127.0.0.1:50051", credential);
//     app.get("/trades", introspector.require("trading:read"), (request, response) => {
//         const account = subjectOf(response).accountId;
//     });
//
// Whatever the authority does not clearly allow is refused.

import { isIP } from "node:net";

import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import type { Request, RequestHandler, Response } from "express";

import { RetryInfo, Status } from "../gen/google_rpc.js";
import {
    IntrospectRequest,
    type IntrospectResponse,
    TokenAuthorityServiceClient,
    Verdict,
} from "../gen/token_authority/v1/tokens.js";

// Only what certainly had no effect is tried again, and never without end: three
// attempts within the deadline, and fewer while most of them fail.
const SERVICE_CONFIG = {
    methodConfig: [
        {
            name: [{ service: "token_authority.v1.TokenAuthorityService", method: "Introspect" }],
            retryPolicy: {
                maxAttempts: 3,
                initialBackoff: "0.05s",
                maxBackoff: "0.5s",
                backoffMultiplier: 2,
                retryableStatusCodes: ["UNAVAILABLE"],
            },
        },
    ],
    retryThrottling: { maxTokens: 100, tokenRatio: 0.1 },
};

const OPTIONS = {
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    // A server that came back is found again soon, and one that fell silent is noticed.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
};

/** For one request, in milliseconds, however often the authority is asked for it. */
const DEADLINE = 2_000;

/** What a credential can look like at all: visible ASCII. */
const TOKEN = /^[!-~]{1,4096}$/;
const BEARER = /^bearer(?: +(.*))?$/i;

/** What a request is answered with that is not let through. */
class Refusal {
    constructor(
        readonly status: number,
        readonly code: string,
        readonly error: string,
        readonly headers: Record<string, string> = {},
    ) {}

    send(response: Response): void {
        response.status(this.status).set({ ...this.headers, "Cache-Control": "no-store" });
        response.json({ error: this.error, code: this.code });
    }
}

const unauthenticated = (code: string, error: string, challenge: string) =>
    new Refusal(401, code, error, { "WWW-Authenticate": challenge });

const INVALID = unauthenticated("CREDENTIAL_INVALID", "The credential is not good", 'Bearer error="invalid_token"');

const unavailable = (seconds = 1) =>
    new Refusal(503, "AUTHORITY_UNAVAILABLE", "The request cannot be judged now", { "Retry-After": String(seconds) });

/** For whom the request was let through; throws where nobody was asked. */
export function subjectOf(response: Response): IntrospectResponse {
    const { subject } = response.locals;
    if (subject === undefined) {
        throw new Error("this route requires no credential");
    }
    return subject;
}

/** Asks the authority at `url`, as whoever holds `credential`. */
export class Introspector {
    readonly #client: TokenAuthorityServiceClient;
    readonly #metadata = new Metadata();

    /** `rootCertificates` (PEM) are the authorities that are believed for https, instead of Node's own. */
    constructor(url: string, credential: string, rootCertificates?: Buffer) {
        const { protocol, hostname, port } = new URL(url);
        if (protocol !== "https:" && protocol !== "http:") {
            throw new Error("the authority's URL looks like https://HOST:PORT or http://HOST:PORT");
        }
        const secure = protocol === "https:";
        this.#client = new TokenAuthorityServiceClient(
            `dns:///${hostname}:${port || (secure ? 443 : 80)}`,
            secure ? credentials.createSsl(rootCertificates) : credentials.createInsecure(),
            OPTIONS,
        );
        this.#metadata.set("authorization", `Bearer ${credential}`);
    }

    /** Ends the connection. */
    close(): void {
        this.#client.close();
    }

    /** Lets requests through whose credential holds all of these scopes. */
    require(...scopes: string[]): RequestHandler {
        return async (request, response, next) => {
            const outcome = await this.#admit(request, scopes);
            if (outcome instanceof Refusal) {
                outcome.send(response);
                return;
            }
            response.locals["subject"] = outcome;
            next();
        };
    }

    async #admit(request: Request, scopes: string[]): Promise<IntrospectResponse | Refusal> {
        const token = credentialOf(request);
        if (token instanceof Refusal) {
            return token;
        }
        let answer: IntrospectResponse;
        try {
            answer = await this.#introspect(
                IntrospectRequest.fromPartial({ token, requiredScopes: scopes, clientIp: addressOf(request) }),
            );
        } catch (error) {
            return refusalOf(error);
        }
        const { active, verdict } = answer;
        if (active && verdict === Verdict.VERDICT_ALLOWED && answer.accountId && !answer.missingScopes.length) {
            return answer;
        }
        if (!active && verdict === Verdict.VERDICT_UNAUTHENTICATED) {
            return INVALID;
        }
        if (active && verdict === Verdict.VERDICT_INSUFFICIENT_SCOPE) {
            const challenge = `Bearer error="insufficient_scope", scope="${scopes.join(" ")}"`;
            return new Refusal(403, "INSUFFICIENT_SCOPE", "Insufficient scope", { "WWW-Authenticate": challenge });
        }
        console.error("the authority's answer contradicts itself");
        return unavailable();
    }

    #introspect(question: IntrospectRequest): Promise<IntrospectResponse> {
        return new Promise((resolve, reject) => {
            const deadline = Date.now() + DEADLINE;
            this.#client.introspect(question, this.#metadata, { deadline }, (error, answer) =>
                error ? reject(error) : resolve(answer),
            );
        });
    }
}

/** The one credential that was presented (RFC 6750, section 2.1). */
function credentialOf(request: Request): string | Refusal {
    // Of two headers with one name, `request.headers` keeps the first alone.
    const { authorization: bearers = [], "x-api-key": keys = [] } = request.headersDistinct;
    if (bearers.length + keys.length > 1) {
        // RFC 6750, section 2: not more than one method. Which one to believe is not ours to guess.
        return unauthenticated("SEVERAL_CREDENTIALS", "Present one credential", 'Bearer error="invalid_request"');
    }
    const bearer = BEARER.exec(bearers[0] ?? "");
    if (keys[0] === undefined && !bearer) {
        return unauthenticated("CREDENTIAL_REQUIRED", "Present a credential", "Bearer");
    }
    const credential = keys[0] ?? bearer?.[1] ?? "";
    return TOKEN.test(credential) ? credential : INVALID;
}

/**
 * The client's address as Express knows it: the connection's, unless the setting
 * `trust proxy` names the proxies whose word is taken. Without an address, what is
 * bound to networks is not let through.
 */
function addressOf(request: Request): string {
    const address = request.ip?.replace(/%.*$/, "") ?? "";
    return isIP(address) ? address : "";
}

/** A failed question is never a 401: nothing was said of the credential. */
function refusalOf(error: unknown): Refusal {
    const { code, metadata } = error as Partial<ServiceError>;
    console.warn(`the authority could not be asked: ${code === undefined ? "no status" : status[code]}`);
    switch (code) {
        case status.UNAUTHENTICATED:
        case status.PERMISSION_DENIED:
            return new Refusal(500, "AUTHORITY_REFUSED", "The request cannot be judged");
        default:
            return unavailable(retryAfter(metadata));
    }
}

/** What the authority asks for (google.rpc.RetryInfo), in whole seconds from 1. */
function retryAfter(metadata?: Metadata): number {
    try {
        for (const bytes of metadata?.get("grpc-status-details-bin") ?? []) {
            for (const { typeUrl, value } of Status.decode(bytes as Buffer).details) {
                if (typeUrl.endsWith("/google.rpc.RetryInfo")) {
                    const { seconds = 0n, nanos = 0 } = RetryInfo.decode(value).retryDelay ?? {};
                    return Math.max(1, Number(seconds) + (nanos > 0 ? 1 : 0));
                }
            }
        }
    } catch {
        // Details that cannot be read say nothing.
    }
    return 1;
}

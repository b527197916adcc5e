// Who a local caller is: one subject, fixed when local mode starts, proven by a token of a key that this process made for itself.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { jwtVerify, SignJWT } from "jose";
import { podAudience } from "../../contract/control.ts";
import type { Subject } from "../../policy/operation.ts";
import { TokenRefused, type IdentityVerifier, type PodIdentity } from "../../operator/resources.ts";

export interface LocalIdentity {
  readonly subject: Subject;
  readonly verifier: IdentityVerifier;
  /** What stands for the projected token: 10 minutes, made anew at every use. */
  readToken(): Promise<string>;
}

const issuer = "chaperone-local";
const tokenLifetime = "10m";

export interface LocalCaller {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly chain: string | undefined;
  /** `namespace/name` of the connections it may ask a grant for, read at each proof. */
  readonly connections: () => readonly string[];
}

export function createLocalIdentity(caller: LocalCaller): LocalIdentity {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const startedAt = new Date().toISOString();
  const subject: Subject = {
    namespace: caller.namespace,
    serviceAccount: caller.serviceAccount,
    pod:
      hostname()
        .toLowerCase()
        .replace(/[^a-z0-9.-]/g, "-") || "local",
    podUid: randomUUID(),
    ...(caller.chain === undefined ? {} : { chain: caller.chain }),
  };
  return {
    subject,
    readToken: () =>
      new SignJWT({ namespace: subject.namespace, serviceAccount: subject.serviceAccount })
        .setProtectedHeader({ alg: "EdDSA" })
        .setIssuer(issuer)
        .setAudience(podAudience)
        .setSubject(subject.podUid)
        .setJti(randomUUID())
        .setIssuedAt()
        .setExpirationTime(tokenLifetime)
        .sign(privateKey),
    verifier: {
      async verify(token): Promise<PodIdentity> {
        try {
          await jwtVerify(token, publicKey, {
            issuer,
            audience: podAudience,
            subject: subject.podUid,
          });
        } catch (cause) {
          throw new TokenRefused(
            "TokenInvalid",
            "the token is not one this process made for its own proxy",
            { cause },
          );
        }
        const { namespace, serviceAccount, pod, podUid, chain } = subject;
        return {
          namespace,
          serviceAccount,
          pod,
          podUid,
          tier: "Local",
          connections: caller.connections(),
          proxyStartedAt: startedAt,
          ...(chain === undefined ? {} : { chain }),
        };
      },
    },
  };
}

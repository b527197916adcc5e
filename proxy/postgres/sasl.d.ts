// Types of the SCRAM-SHA-256 client that `pg` exports; it brings none for this file.
declare module "pg/lib/crypto/sasl.js" {
  import type { TLSSocket } from "node:tls";

  export interface SaslSession {
    readonly mechanism: string;
    readonly response: string;
  }
  interface Sasl {
    startSession(
      mechanisms: readonly string[],
      stream?: TLSSocket,
      scramMaxIterations?: number,
    ): SaslSession;
    continueSession(
      session: SaslSession,
      password: string,
      serverData: string,
      stream?: TLSSocket,
    ): Promise<void>;
    finalizeSession(session: SaslSession, serverData: string): void;
  }
  const sasl: Sasl;
  export default sasl;
}

declare module "pg/lib/crypto/cert-signatures.js" {
  const signatures: { signatureAlgorithmHashFromCertificate(certificate: Buffer): string };
  export default signatures;
}

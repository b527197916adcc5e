// What a program in a pod tries: each argument is one thing to do, each line of output what came of it.
import { sendPing } from "../../proxy/redirect/ping.ts";
import { dns, tcp, udp, upload } from "./ways-out.ts";

for (const argument of process.argv.slice(2)) {
  const [what = "", host = "", more = "", last = ""] = argument.split("|");
  const outcome =
    what === "tcp"
      ? await tcp(host, Number(more))
      : what === "udp"
        ? await udp(host, Number(more), Number(last))
        : what === "icmp"
          ? sendPing(host)
          : what === "dns"
            ? await dns(host, more, last === "AAAA" ? "AAAA" : "A")
            : await upload(host, Number(more), Number(last));
  process.stdout.write(`${outcome}\n`);
}
process.exit(0);

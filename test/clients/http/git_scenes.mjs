// git over HTTPS: clones, fetches and pushes of a repository of its own, made anew for each run; a process for each command.
// usage: git_scenes.mjs REPOSITORY URL; prints one JSON object, a result for each scene.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [name, url] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "git-"));
const origin = `${url}/${name}`;
const second = 1_790_000_000;

/** Everything git takes into a commit's name is fixed. */
const fixed = {
  GIT_AUTHOR_NAME: "Agent",
  GIT_AUTHOR_EMAIL: "agent@example.test",
  GIT_COMMITTER_NAME: "Agent",
  GIT_COMMITTER_EMAIL: "agent@example.test",
  GIT_AUTHOR_DATE: `${second} +0000`,
  GIT_COMMITTER_DATE: `${second} +0000`,
  GIT_TERMINAL_PROMPT: "0",
  // No housekeeping beside what is tested.
  GIT_CONFIG_COUNT: "1",
  GIT_CONFIG_KEY_0: "maintenance.auto",
  GIT_CONFIG_VALUE_0: "false",
  LC_ALL: "C",
};

/** What it says, without the address it was given and without its progress. */
const plain = (text) =>
  text
    .replaceAll(/https?:\/\/[^\s'/]+\/git/g, "URL")
    .replaceAll(`URL/${name}`, "ORIGIN")
    .replaceAll(folder, "FOLDER")
    .split("\n")
    .filter(
      (line) =>
        !/^remote: (Enumerating|Counting|Compressing|Total)|^(Unpacking|Receiving|Resolving|Writing)/.test(
          line,
        ),
    )
    .join("\n");

function git(cwd, ...args) {
  return new Promise((resolve) => {
    execFile(
      "git",
      args,
      { cwd, env: { ...process.env, ...fixed }, maxBuffer: 1e8, timeout: 60_000 },
      (error, stdout, stderr) =>
        resolve({ exit: error === null ? 0 : error.code, out: plain(stdout), err: plain(stderr) }),
    );
  });
}

const work = join(folder, "work");
const content = (lines) =>
  Array.from({ length: lines }, (_, at) => `${at} ${(at * 2_654_435_761) >>> 0}`).join("\n");

async function commit(file, text, message) {
  await writeFile(join(work, file), text);
  await git(work, "add", ".");
  return git(work, "commit", "-q", "-m", message);
}

const scenes = {
  "clone-empty": () => git(folder, "clone", origin, "work"),
  "push-first": async () => {
    await git(work, "checkout", "-q", "-b", "main");
    await commit("README", "hello\n", "first");
    return git(work, "push", "-q", "-u", "origin", "main");
  },
  // More than the buffer: sent in pieces, after a probe. Over HTTP/1.1, because libcurl 7.88 (Debian 12) stalls now and then, straight too,
  // when it sends such a body over HTTP/2.
  "push-large": async () => {
    await commit("large", content(20_000), "large");
    const options = ["-c", "http.postBuffer=65536", "-c", "http.version=HTTP/1.1"];
    return git(work, ...options, "push", "-q", "origin", "main");
  },
  "push-tag": async () => {
    await git(work, "tag", "v1");
    return git(work, "push", "--porcelain", "origin", "v1");
  },
  "push-rejected": async () => {
    await git(work, "checkout", "-q", "--orphan", "other");
    await commit("other", "x", "other");
    return git(work, "push", "--porcelain", "origin", "other:main");
  },
  "ls-remote": () => git(folder, "ls-remote", origin),
  clone: async () => [
    await git(folder, "clone", "-q", origin, "again"),
    await git(join(folder, "again"), "log", "--format=%H %s"),
    await git(join(folder, "again"), "fsck", "--strict"),
  ],
  "clone-shallow": async () => [
    await git(folder, "clone", "-q", "--depth=1", origin, "shallow"),
    await git(join(folder, "shallow"), "log", "--format=%H %s"),
    await git(join(folder, "shallow"), "fetch", "-q", "--unshallow"),
    await git(join(folder, "shallow"), "log", "--format=%H %s"),
  ],
  fetch: async () => {
    await git(work, "checkout", "-q", "main");
    await commit("README", "again\n", "second");
    await git(work, "push", "-q", "origin", "main");
    return [
      await git(join(folder, "again"), "pull", "-q"),
      await git(join(folder, "again"), "log", "--format=%H %s"),
    ];
  },
  "protocol-0": () => git(folder, "-c", "protocol.version=0", "ls-remote", origin),
  "delete-branch": async () => [
    await git(work, "push", "-q", "origin", "main:gone"),
    await git(work, "push", "--porcelain", "origin", ":gone"),
  ],
  "no-repository": () => git(folder, "clone", `${url}/missing.git`, "missing"),
};

const results = {};
for (const [scene, play] of Object.entries(scenes)) results[scene] = await play();
await rm(folder, { recursive: true });
process.stdout.write(JSON.stringify(results));

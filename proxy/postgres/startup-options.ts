// The startup parameter `options`: the command line of a server process, of which only settings are read (pg_split_opts, process_postgres_switches).

/** `-c name=value`, `-cname=value` and `--name=value`; anything else comes back under a name that no list has. */
export function readOptions(options: string): [name: string, value: string][] {
  const settings: [string, string][] = [];
  const words = splitOptions(options);
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? "";
    const attached = /^(?:-c|--)(?=.)/s.exec(word);
    if (word !== "-c" && attached === null) settings.push([`options ${word}`, ""]);
    else settings.push(assignment(attached === null ? words[(index += 1)] : word.slice(2)));
  }
  return settings;
}

function assignment(word = ""): [string, string] {
  const at = word.indexOf("=");
  if (at <= 0) return [`options ${word}`, ""];
  // The server reads dashes in names as underscores (ParseLongOption).
  return [word.slice(0, at).replaceAll("-", "_"), word.slice(at + 1)];
}

/** Blanks separate words; a backslash takes the next character as it is. */
function splitOptions(options: string): string[] {
  const words: string[] = [];
  for (const [found] of options.matchAll(/(?:\\[^]|[^\s\\])+\\?/g))
    words.push(found.replaceAll(/\\([^])/g, "$1"));
  return words;
}

// The parts of a message that are no text: pictures, sound and files, each as what it is and where it comes from.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { addAttachment } from "../reading.ts";
import type { Reading } from "../reading.ts";

/** Chat and responses call the same parts by different names; whatever is no such part is left to who reads text. */
export function noteAttachment(reading: Reading, part: unknown): void {
  if (!isObject(part)) return;
  switch (part["type"]) {
    case "image_url": {
      const { image_url: image } = part;
      return noteUrl(reading, "image", isObject(image) ? image["url"] : image);
    }
    case "input_image":
    case "computer_screenshot":
      return noteFile(reading, "image", part, part["image_url"]);
    case "input_audio": {
      const audio = part["input_audio"];
      const format = isObject(audio) ? audio["format"] : "";
      return addAttachment(
        reading,
        "audio",
        typeof format === "string" && format !== "" ? `audio/${format}` : "",
        "inline",
      );
    }
    case "video_url": {
      const { video_url: video } = part;
      return noteUrl(reading, "video", isObject(video) ? video["url"] : video);
    }
    case "file":
      return isObject(part["file"])
        ? noteFile(reading, "file", part["file"], part["file"]["file_data"])
        : undefined;
    case "input_file":
      return noteFile(reading, "file", part, part["file_data"] ?? part["file_url"]);
  }
}

function noteFile(
  reading: Reading,
  kind: "image" | "file",
  file: JsonObject,
  content: unknown,
): void {
  if (typeof file["file_id"] === "string") addAttachment(reading, kind, "", "file");
  else noteUrl(reading, kind, content);
}

function noteUrl(reading: Reading, kind: "image" | "video" | "file", url: unknown): void {
  const [, type] = typeof url === "string" ? (/^data:([^;,]*)/i.exec(url.slice(0, 256)) ?? []) : [];
  const isFetched = typeof url === "string" && /^[a-z][a-z0-9+.-]*:\/\//i.test(url);
  addAttachment(reading, kind, type ?? "", isFetched ? "url" : "inline");
}

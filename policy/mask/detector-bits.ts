// A set of detectors as one number.
import { detectorNames, type DetectorName } from "./detectors.ts";

/** One bit a detector, in the order of `detectorNames`. */
export type Suspects = number;

/** Of detectors that every text is given to. */
export const anyText: Suspects = 1 << 30;

export function bitOf(name: DetectorName): Suspects {
  return 1 << detectorNames.indexOf(name);
}

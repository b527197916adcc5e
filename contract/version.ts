/** Of the product: the bundler puts in what package.json says. */
export const version = process.env.CHAPERONE_VERSION ?? "0.1.0";

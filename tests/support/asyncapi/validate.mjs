// node validate.mjs FILE: prints what AsyncAPI's own parser finds wrong, a line each; 1 if the document does not hold.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const grave = diagnostics.filter(({ severity }) => severity < 2); // errors and warnings; the rest is advice
for (const { path, message } of grave) console.log(`${path.join(".")}: ${message}`);
process.exit(document && grave.length === 0 ? 0 : 1);

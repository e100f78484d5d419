// node validate.mjs FILE: prints the problems found by AsyncAPI's parser, one per line; exit code 1 if there are any.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const grave = diagnostics.filter(({ severity }) => severity < 2); // errors and warnings; the rest is advice
for (const { path, message } of grave) console.log(`${path.join(".")}: ${message}`);
process.exit(document && grave.length === 0 ? 0 : 1);

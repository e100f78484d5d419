"""The published contract: an AsyncAPI 3 document and JSON Schemas, generated from the code into docs/api/."""

import { getTableConfig } from "drizzle-orm/pg-core";

// A table of Drizzle as SQL. Its own tool for that is another package.
export function createTable(table) {
  const { name, columns, primaryKeys } = getTableConfig(table);
  const parts = columns.map((column) => {
    const rules = `${column.primary ? " PRIMARY KEY" : ""}${column.notNull ? " NOT NULL" : ""}${column.isUnique ? " UNIQUE" : ""}`;
    return `"${column.name}" ${column.getSQLType()}${rules}`;
  });
  for (const key of primaryKeys) parts.push(`PRIMARY KEY (${key.columns.map((column) => `"${column.name}"`).join(", ")})`);
  return `CREATE TABLE "${name}" (${parts.join(", ")})`;
}

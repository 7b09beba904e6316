// A thousand tokens, half of them dead.
const now = Date.now();
db.getSiblingDB("app").reset_tokens.insertMany(
  Array.from({ length: 1000 }, (_, n) => ({ expires_at: new Date(now + (n % 2 ? 1 : -1) * (n + 1) * 60000) })),
);
db.getSiblingDB("app").reset_tokens.createIndex({ expires_at: 1 });

import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { PrismaAdapter } from "@auth/prisma-adapter";
import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";

import { answers, App, visits } from "./lib/authjs.mjs";
import { main } from "./lib/main.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

// What `prisma migrate` makes of the schema. It would download a program for that.
const TABLES = `
  CREATE TABLE "User" (
    "id" TEXT NOT NULL, "name" TEXT, "email" TEXT NOT NULL, "emailVerified" TIMESTAMP(3), "image" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "User_pkey" PRIMARY KEY ("id")
  );
  CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
  CREATE TABLE "Account" (
    "userId" TEXT NOT NULL REFERENCES "User"("id") ON DELETE CASCADE ON UPDATE CASCADE, "type" TEXT NOT NULL,
    "provider" TEXT NOT NULL, "providerAccountId" TEXT NOT NULL, "refresh_token" TEXT, "access_token" TEXT,
    "expires_at" INTEGER, "token_type" TEXT, "scope" TEXT, "id_token" TEXT, "session_state" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "Account_pkey" PRIMARY KEY ("provider","providerAccountId")
  );
  CREATE TABLE "Session" (
    "sessionToken" TEXT NOT NULL, "userId" TEXT NOT NULL REFERENCES "User"("id") ON DELETE CASCADE ON UPDATE CASCADE,
    "expires" TIMESTAMP(3) NOT NULL, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL
  );
  CREATE UNIQUE INDEX "Session_sessionToken_key" ON "Session"("sessionToken");
  CREATE TABLE "VerificationToken" (
    "identifier" TEXT NOT NULL, "token" TEXT NOT NULL, "expires" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "VerificationToken_pkey" PRIMARY KEY ("identifier","token")
  );`;

function app(url) {
  const { PrismaClient } = createRequire(import.meta.url)(here("node_modules/.authjs-prisma"));
  return new App(PrismaAdapter(new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })));
}

await main({
  create: async (url) => {
    // The generator looks for its engines, which this client does without, and would download them.
    const engines = { PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, PRISMA_QUERY_ENGINE_LIBRARY: process.execPath };
    const program = here("node_modules/prisma/build/index.js");
    const options = { cwd: here("."), env: { ...process.env, ...engines, CHECKPOINT_DISABLE: "1" }, stdio: "pipe" };
    execFileSync(process.execPath, [program, "generate", "--schema", "authjs.prisma", "--no-hints"], options);
    await new pg.Pool({ connectionString: url }).query(TABLES);
    return visits(app(url));
  },
  alive: async (url, known) => {
    const { sessions, links } = await answers(app(url), known);
    return { Session: sessions, VerificationToken: links };
  },
});

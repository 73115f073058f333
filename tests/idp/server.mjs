// An OpenID-certified provider (npm oidc-provider) on loopback, for the suite `idp`.
//
// It issues JWT access tokens (RFC 9068) by client_credentials, and is driven through standard input: one command a line,
// one line of JSON in answer. It ends with its standard input, so that nothing is left when a test dies.
//
//   rotate    new keys sign from now on; those of before stay published
//   retire    only the keys that sign are published from now on
//   id-token  an ID token for a user of the client that signs with ES256
//   count     how many key sets were served
//
//   node server.mjs --modules DIR --cert FILE --key FILE --state FILE --secret TEXT [--port N]
//
// DIR holds node_modules. The signing keys stand in the state file, if there is one: a provider that died comes back
// with the keys that it had. Its clients, one for each algorithm, are orders-RS256, orders-ES256, orders-EdDSA; the
// secret is theirs, by client_secret_post.

import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

// Standard output belongs to the answers; the provider's notices go to standard error.
globalThis.console = new console.Console(process.stderr);

const AUDIENCE = 'orders-api';
const RESOURCE = 'https://orders.example.com/';
const SCOPES = 'orders:read orders:write';
const GENERATORS = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

const { values: options } = parseArgs({
  options: Object.fromEntries(
    ['modules', 'cert', 'key', 'state', 'secret', 'port'].map((name) => [name, { type: 'string' }]),
  ),
});
const modules = createRequire(pathToFileURL(join(options.modules, 'package.json')));
const { Provider } = await import(pathToFileURL(modules.resolve('oidc-provider')));

// One entry a generation, each with a key for every algorithm; the newest first, for the provider signs with the first
// key that fits.
let generations = existsSync(options.state)
  ? JSON.parse(readFileSync(options.state, 'utf8'))
  : [generate()];
let keySets = 0;
let issuer;
let provider;
let handle;

function generate() {
  return Object.entries(GENERATORS).map(([alg, pair]) => ({
    ...pair().privateKey.export({ format: 'jwk' }),
    alg,
    use: 'sig',
  }));
}

// The keys of a provider are fixed when it is made: other keys are another provider behind the same address and name.
function publish(next) {
  generations = next;
  writeFileSync(options.state, JSON.stringify(generations), { mode: 0o600 });
  provider = new Provider(issuer, {
    jwks: { keys: generations.flat() },
    clients: Object.keys(GENERATORS).map((alg) => ({
      client_id: `orders-${alg}`,
      client_secret: options.secret,
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: alg,
    })),
    enabledJWA: { idTokenSigningAlgValues: Object.keys(GENERATORS) },
    scopes: SCOPES.split(' '),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource, client) => {
          if (resource !== RESOURCE) throw new Error(`unknown resource ${resource}`);
          return {
            audience: AUDIENCE,
            scope: SCOPES,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: client.idTokenSignedResponseAlg } },
          };
        },
      },
    },
    ttl: { ClientCredentials: 600, IdToken: 600 },
  });
  handle = provider.callback();
}

async function idToken() {
  const client = await provider.Client.find('orders-ES256');
  const token = new provider.IdToken({ sub: 'alice' }, { client });
  token.scope = 'openid';
  return token.issue({ use: 'idtoken' });
}

const COMMANDS = {
  rotate: () => publish([generate(), ...generations]),
  retire: () => publish(generations.slice(0, 1)),
  'id-token': async () => ({ idToken: await idToken() }),
  count: () => {},
};

function say(value) {
  process.stdout.write(`${JSON.stringify({ issuer, keySets, ...value })}\n`);
}

const server = createServer(
  { cert: readFileSync(options.cert), key: readFileSync(options.key) },
  (request, response) => {
    if (request.url === '/jwks') keySets += 1;
    handle(request, response);
  },
);
server.listen({ host: '127.0.0.1', port: Number(options.port ?? 0) }, () => {
  issuer = `https://127.0.0.1:${server.address().port}`;
  publish(generations);
  say();
});

const lines = createInterface({ input: process.stdin });
lines.on('line', async (line) => {
  try {
    const command = COMMANDS[line];
    if (!command) throw new Error(`unknown command ${line}`);
    say(await command());
  } catch (error) {
    say({ error: String(error) });
  }
});
lines.on('close', () => process.exit(0));

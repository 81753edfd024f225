// A token server for tests: oidc-provider, with the clients of a file that is read anew at each question.
// Environment: MODULE (folder of oidc-provider), PORT, CLIENTS (file), AUDIENCE, TTL (seconds). Prints "ready".
// A client of the file: { "jwks": {...} or "jwks_uri": "...", "scope": "..." }; what it asks for beyond its scope is dropped.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const { MODULE, PORT, CLIENTS, AUDIENCE, TTL } = process.env;
const { default: Provider } = await import(`${MODULE}/lib/index.js`);
const issuer = `http://127.0.0.1:${PORT}`;
const read = () => JSON.parse(readFileSync(CLIENTS, 'utf8'));

const stores = new Map();
class Store {
  constructor(name) {
    this.name = name;
    if (!stores.has(name)) stores.set(name, new Map());
    this.map = stores.get(name);
  }
  async find(id) {
    if (this.name !== 'Client') return this.map.get(id);
    const client = read()[id];
    if (!client) return undefined;
    return {
      client_id: id,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: client.jwks,
      jwks_uri: client.jwks_uri,
    };
  }
  async upsert(id, payload) { this.map.set(id, payload); }
  async destroy(id) { this.map.delete(id); }
  async consume() {}
}

const scopes = ['system/*.cruds', 'system/*.rs', 'system/Observation.cruds', 'system/Observation.cu', 'system/Observation.rs', 'system/Task.cu'];
// It fetches nothing from this machine by itself; the addresses of tests are all here.
const local = (url, { dispatcher: _guard, ...options }) => {
  if (new URL(url).hostname !== '127.0.0.1') throw new Error(`not of this test: ${url}`);
  return fetch(url, options);
};
const provider = new Provider(issuer, {
  fetch: local,
  adapter: Store,
  scopes,
  clientAuthMethods: ['private_key_jwt'],
  enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => AUDIENCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, _resource, client) => ({
        // What is beyond it is dropped without a word.
        scope: read()[client.clientId].scope,
        audience: AUDIENCE,
        accessTokenFormat: 'jwt',
        // The test's own looks on until the end.
        accessTokenTTL: client.clientId === 'admin' ? 3600 : Number(TTL),
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});
// Why a client is refused, for whoever reads the log of a failed test.
provider.on('grant.error', (_, error) => console.log('refused:', error.error_description, error.cause?.message ?? ''));
createServer(provider.callback()).listen(Number(PORT), '127.0.0.1', () => console.log('ready'));

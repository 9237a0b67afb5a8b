import { z } from 'zod';
import { isFileForEach } from './instances.ts';
import { probe } from './probe-schema.ts';
import { name, oneOrMore, port, text } from './values.ts';

/** A path, which begins at the plan's folder if it is not absolute, or `host:port`. */
const socketAddress = () =>
  text().regex(/\/|:\d{1,5}$/, 'is no runtime socket; write its path with a slash, or host:port');

/** As HAProxy has it for names of sections and servers. */
const NAME_OF_ITS = '[A-Za-z0-9_.:-]+';
const server = () =>
  z.string().regex(new RegExp(`^${NAME_OF_ITS}/${NAME_OF_ITS}$`), 'is no server of a backend; write backend/server');
const frontend = () =>
  z.string().regex(new RegExp(`^${NAME_OF_ITS}$`), 'is no name of a frontend; use A-Z, a-z, 0-9, _, ., : and -');

const proxiedSide = (which: 'source' | 'target') =>
  z
    .strictObject({
      host: z
        .string()
        .regex(/^[A-Za-z0-9_.:-]+$/, 'is no host; write a name or an address, without brackets')
        .optional()
        .meta({ description: 'As HAProxy is to reach it.' }),
      port: port().optional().meta({ description: 'Its port.' }),
    })
    .prefault({})
    .meta({
      description: `What the server's line says when it leads to the ${which}: \`host\`, \`port\`. What is left out is taken from \`${which}.url\`.`,
      examples: [{ host: `${which === 'source' ? 'old' : 'new'}.internal`, port: 5432 }],
    });

/** How a HAProxy is set up as a router. */
export const haproxyRouter = z
  .strictObject({
    kind: z.literal('haproxy').meta({
      description: 'HAProxy in TCP mode: its server is led elsewhere, over its runtime socket and in its file.',
    }),
    socket: oneOrMore(socketAddress()).meta({
      description: 'The runtime socket, of level admin, or a list: all processes that lead the same applications.',
      examples: ['/run/haproxy/admin.sock'],
    }),
    config: oneOrMore(text()).meta({
      description:
        'The file on this machine that has the server and the frontend. One for all, or a list with one for each of `socket`.',
      examples: ['/etc/haproxy/haproxy.cfg'],
    }),
    server: server()
      .optional()
      .meta({ description: 'The server, when the router leads one phase.', examples: ['shop/primary'] }),
    servers: z
      .record(name(), server())
      .optional()
      .meta({
        description: 'The server of each phase, when the router leads several: no two share one.',
        examples: [{ catalog: 'catalog/primary', orders: 'orders/primary' }],
      }),
    frontend: frontend()
      .optional()
      .meta({
        description:
          "The frontend by which clients come, with `server`. Without it one of the backend's name: a `listen` section.",
        examples: ['shop_in'],
      }),
    frontends: z
      .record(name(), frontend())
      .optional()
      .meta({
        description: 'The frontend of each phase that has one of another name than its backend, with `servers`.',
        examples: [{ catalog: 'catalog_in' }],
      }),
    sessions: z
      .enum(['end', 'keep'])
      .default('end')
      .meta({
        description:
          'What becomes of sessions that are on the old side after a repoint: ended, so that they connect again, or kept until they end, where their writes are refused.',
        examples: ['keep'],
      }),
    source: proxiedSide('source'),
    target: proxiedSide('target'),
    probe,
  })
  .refine((value) => (value.server === undefined) !== (value.servers === undefined), {
    error: 'needs exactly one of `server` and `servers`; keep the one that is meant',
  })
  .refine((value) => value.frontend === undefined || value.server !== undefined, {
    error: 'has `frontend` without `server`; write the frontends of several phases under `frontends`',
  })
  .refine((value) => value.frontends === undefined || value.servers !== undefined, {
    error: 'has `frontends` without `servers`; write the frontend of one phase as `frontend`',
  })
  .refine(({ socket, config }) => isFileForEach(socket, config), {
    error: 'has another number of files than of sockets; give one file for all, or one for each of `socket`',
  });

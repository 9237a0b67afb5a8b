import { defineConfig } from 'vite';

/**
 * `npm run build`: the program as it is published, our modules and the libraries' in a handful of files. Node resolves, reads
 * and links each module by itself, and of nearly eight hundred of them a command took two thirds of its start for that. They
 * stay as they are written, so that a stack names functions and a reader finds them; types are `npm run types`' business.
 */
export default defineConfig({
  ssr: { noExternal: true },
  build: {
    ssr: 'src/main.ts',
    target: 'node24',
    minify: false,
    license: { fileName: 'licenses.md' },
    rolldownOptions: {
      // What pg can do without.
      external: ['pg-native'],
      // Names that stay: V8's code cache is kept by them, and a new version takes the place of the old one's.
      // What is said of types and parameters is for readers of the sources; it would be held in memory with the text.
      output: { chunkFileNames: '[name].js', comments: { jsdoc: false } },
    },
  },
});

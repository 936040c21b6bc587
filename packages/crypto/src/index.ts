/** Encryption of links for pairlink: one key for both processes, keys in files, and a place for ciphers of your own. */
export { aes256gcm } from './aes256gcm.js'
export { custom, type CustomCipher } from './custom.js'
export { generateKey, loadKey, saveKey, type LoadKeyOptions, type SaveKeyOptions } from './keys.js'

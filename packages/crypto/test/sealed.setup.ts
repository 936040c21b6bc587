/** Lets the tests of core's Connection run once more, sealed. */
import { useEncryption } from '../../core/test/connection/encryption.js'
import { aes256gcm } from '../src/index.js'

useEncryption(aes256gcm(new Uint8Array(32).fill(7)))

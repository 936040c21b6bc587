/** Lets the tests of core's Connection run once more, with a cipher of the user's. */
import { useEncryption } from '../../core/test/connection/encryption.js'
import { custom } from '../src/index.js'
import { naive } from './naive.js'

useEncryption(custom(naive(7)))

// certificate.mjs: run it once, and give both files to both processes.
import { generateCertificate } from '@pairlink/transport-tls'

const [certFile = 'app.pem', keyFile = 'app.key'] = process.argv.slice(2)

await generateCertificate({ certFile, keyFile }) // never over files that are there: that is an error

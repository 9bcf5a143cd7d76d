import java.io.FileInputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Scanner;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** Shakes hands as Java's HTTPS does. Each line of the input reads `CASE PORT CA HOST`; each of the output `CASE ok` or why not. */
public class Verify {
    public static void main(String[] arguments) {
        for (var input = new Scanner(System.in); input.hasNext();) {
            var name = input.next();
            try {
                verify(input.nextInt(), input.next(), input.next());
                System.out.println(name + " ok");
            } catch (Exception error) {
                System.out.println(name + " " + error.toString().replace('\n', ' '));
            }
        }
    }

    static void verify(int port, String ca, String host) throws Exception {
        var roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (var file = new FileInputStream(ca)) {
            roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        var context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        try (var stream = new Socket("127.0.0.1", port)) {
            var target = (host.contains(":") ? "[" + host + "]" : host) + ":443";
            var request = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
            stream.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            for (var answer = ""; !answer.endsWith("\r\n\r\n");) {
                answer += (char) stream.getInputStream().read();
            }
            var secure = (SSLSocket) context.getSocketFactory().createSocket(stream, host, 443, true);
            var parameters = secure.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            secure.setSSLParameters(parameters);
            secure.startHandshake();
        }
    }
}

import com.amplitude.experiment.evaluation.EvaluationContext;
import com.amplitude.experiment.evaluation.EvaluationEngineImpl;
import com.amplitude.experiment.evaluation.EvaluationFlag;
import com.amplitude.experiment.evaluation.EvaluationVariant;
import com.amplitude.experiment.evaluation.TopologicalSortKt;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import kotlin.Unit;
import kotlinx.serialization.builtins.BuiltinSerializersKt;
import kotlinx.serialization.json.Json;
import kotlinx.serialization.json.JsonArray;
import kotlinx.serialization.json.JsonElement;
import kotlinx.serialization.json.JsonElementKt;
import kotlinx.serialization.json.JsonKt;
import kotlinx.serialization.json.JsonNull;
import kotlinx.serialization.json.JsonObject;
import kotlinx.serialization.json.JsonPrimitive;

/** Evaluates JSON lines as the official proxy does: one result object, or an error, a line. */
public final class Reference {
    private static final Json JSON = JsonKt.Json(Json.Default, settings -> {
        settings.setIgnoreUnknownKeys(true);
        settings.setLenient(true);
        settings.setCoerceInputValues(true);
        settings.setExplicitNulls(false);
        return Unit.INSTANCE;
    });
    private static final EvaluationEngineImpl ENGINE = new EvaluationEngineImpl();

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        // The engine may log to standard output; the answers must have it to themselves.
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        System.setOut(System.err);
        for (String line; (line = input.readLine()) != null; ) {
            output.print(answer(line));
            output.print('\n');
        }
        output.flush();
    }

    private static String answer(String line) {
        try {
            return evaluate((JsonObject) JSON.parseToJsonElement(line)).toString();
        } catch (Exception error) {
            var name = JsonElementKt.JsonPrimitive(error.getClass().getSimpleName());
            return new JsonObject(Map.of("error", name)).toString();
        }
    }

    private static JsonObject evaluate(JsonObject line) {
        var serializer = BuiltinSerializersKt.ListSerializer(EvaluationFlag.Companion.serializer());
        List<EvaluationFlag> listed = JSON.decodeFromJsonElement(serializer, line.get("flags"));
        Map<String, EvaluationFlag> flags = new LinkedHashMap<>();
        var written = ((JsonArray) line.get("flags")).iterator();
        for (EvaluationFlag flag : listed) {
            flags.put(((JsonPrimitive) ((JsonObject) written.next()).get("key")).getContent(), flag);
        }
        Set<String> keys = new LinkedHashSet<>();
        if (line.get("flag_keys") instanceof JsonArray asked) {
            asked.forEach(key -> keys.add(((JsonPrimitive) key).getContent()));
        }
        var user = asMap((JsonObject) line.get("user"));
        var found = ENGINE.evaluate(context(user), TopologicalSortKt.topologicalSort(flags, keys));
        Map<String, JsonElement> results = new LinkedHashMap<>();
        for (Map.Entry<String, EvaluationVariant> each : found.entrySet()) {
            var variant = EvaluationVariant.Companion.serializer();
            results.put(each.getKey(), JSON.encodeToJsonElement(variant, each.getValue()));
        }
        return new JsonObject(results);
    }

    /** What the selectors walk; groups carry their cohorts, as in the vendor's SDKs. */
    private static EvaluationContext context(Map<String, Object> user) {
        var context = new EvaluationContext();
        if (user.isEmpty()) {
            return context;
        }
        if (user.get("groups") instanceof Map<?, ?> types && !types.isEmpty()) {
            Map<String, Object> groups = new LinkedHashMap<>();
            types.forEach((type, names) -> {
                if (names instanceof List<?> list && !list.isEmpty() && list.get(0) instanceof String name) {
                    Map<String, Object> group = new LinkedHashMap<>();
                    group.put("group_name", name);
                    if (within(user.get("group_properties"), type, name) instanceof Map<?, ?> own && !own.isEmpty()) {
                        group.put("group_properties", own);
                    }
                    if (within(user.get("group_cohort_ids"), type, name) instanceof List<?> ids && !ids.isEmpty()) {
                        group.put("cohort_ids", ids);
                    }
                    groups.put((String) type, group);
                }
            });
            context.put("groups", groups);
        }
        Map<String, Object> rest = new LinkedHashMap<>(user);
        List.of("groups", "group_properties", "group_cohort_ids").forEach(rest::remove);
        context.put("user", rest);
        return context;
    }

    private static Object within(Object outer, Object type, Object name) {
        return outer instanceof Map<?, ?> types && types.get(type) instanceof Map<?, ?> names ? names.get(name) : null;
    }

    private static Map<String, Object> asMap(JsonObject object) {
        Map<String, Object> map = new LinkedHashMap<>();
        object.forEach((name, value) -> map.put(name, asAny(value)));
        return map;
    }

    private static Object asAny(JsonElement element) {
        if (element instanceof JsonObject object) {
            return asMap(object);
        }
        if (element instanceof JsonArray array) {
            List<Object> list = new ArrayList<>();
            array.forEach(each -> list.add(asAny(each)));
            return list;
        }
        var primitive = (JsonPrimitive) element;
        if (primitive instanceof JsonNull) {
            return null;
        }
        if (primitive.isString()) {
            return primitive.getContent();
        }
        Object[] readings = {
            JsonElementKt.getBooleanOrNull(primitive),
            JsonElementKt.getIntOrNull(primitive),
            JsonElementKt.getLongOrNull(primitive),
        };
        for (Object reading : readings) {
            if (reading != null) {
                return reading;
            }
        }
        return JsonElementKt.getDoubleOrNull(primitive);
    }
}
